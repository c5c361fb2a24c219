"""Checks that the arguments of a message fit its task: anyone who reaches the broker can send others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

from backmarket.connections import check_organization_id
from backmarket.errors import InvalidArgument


def check(run: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Make sure that a task can be called with these arguments.

    Args:
        run: the task's function.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        InvalidArgument: if there are too many or too few, one has another type than its type hint, or the
            organization id is invalid. The text says what the task takes, and quotes nothing from the message.
    """
    form = _form(run)
    try:
        given = form.bind(*args, **kwargs).arguments
    except TypeError:
        raise InvalidArgument(f"The message's arguments don't fit. The task takes {form}.") from None
    for name, value in given.items():
        kind = form.parameters[name].annotation
        if kind is not Any and form.parameters[name].kind is not Parameter.VAR_KEYWORD and type(value) is not kind:
            raise InvalidArgument(f"{name} is a {type(value).__name__} in this message: {form}.")
    if "organization_id" in given:
        check_organization_id(given["organization_id"])


@cache
def _form(run: Callable[..., object]) -> Signature:
    hints = get_type_hints(run)
    named = [each.replace(annotation=hints.get(each.name, Any)) for each in signature(run).parameters.values()]
    return Signature(named)
