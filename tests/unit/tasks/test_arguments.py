"""A message's arguments are those of its task, or the error says what the task takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmarket.errors import InvalidArgument
from tasks import arguments
from tests.support.bad_messages import ARGUMENTS

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIT: tuple[tuple[list[str], dict[str, object]], ...] = ((["x"], {}), (["9999-99-99"], {}))
"""Of the arguments that fit no task but a sync, since an organization may have any name."""
NAMES = st.sampled_from(["organization_id", "nudge", "object_key", "max_age", "self", "x"]) | st.text(max_size=5)


def sync(organization_id: str, nudge: bool = False) -> None: ...


def submit(organization_id: str, object_key: str, **options: Any) -> None: ...


def tick() -> None: ...


def refusal(run: Callable[..., None], args: list[Any], kwargs: dict[str, Any]) -> str | None:
    try:
        arguments.check(run, args, kwargs)
    except InvalidArgument as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["auth0|1"], {}),
        (["a"], {"nudge": True}),
        (["a", False], {}),
        ([], {"organization_id": "é", "nudge": True}),
    ],
)
def test_what_a_task_takes(args: list[Any], kwargs: dict[str, Any]) -> None:
    arguments.check(sync, args, kwargs)


def test_options_are_not_looked_at_here() -> None:
    arguments.check(submit, ["a", "uploads/x"], {"max_age": "soon", "anything": [1]})
    with pytest.raises(InvalidArgument, match="object_key is a list in this message"):
        arguments.check(submit, ["a"], {"object_key": ["uploads/x"]})


@pytest.mark.parametrize(("args", "kwargs"), [each for each in ARGUMENTS if each not in FIT])
def test_what_it_does_not_take(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert refusal(sync, args, kwargs)
    assert refusal(tick, args or ["a"], kwargs) == "The message's arguments don't fit. The task takes ()."


@given(st.lists(ANY, max_size=3), st.dictionaries(NAMES, ANY, max_size=3))
def test_any_arguments_fit_or_are_refused_without_being_quoted(args: list[Any], kwargs: dict[str, Any]) -> None:
    for run in (sync, submit, tick):
        refused = refusal(run, args, kwargs)
        if refused is None:
            assert run is tick or isinstance(args[0] if args else kwargs["organization_id"], str)
        else:
            assert refused.isprintable()
            assert len(refused) < 200
