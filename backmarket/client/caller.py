"""Call an operation: check its arguments, wait for the limits, send, retry where that is harmless, read the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_origin

from backmarket.client.answers import Answer, check
from backmarket.client.credentials import Credentials
from backmarket.client.local_limits import OwnLimits
from backmarket.client.operation import Operation, Request
from backmarket.errors import (
    BrokenAnswer,
    NetworkError,
    RateLimited,
    ServerError,
    TransientError,
    UnknownOutcome,
)
from backmarket.limits import backoff

if TYPE_CHECKING:
    from backmarket.client.transport import Transport

Answered = TypeVar("Answered")

TRIES = 4
"""Maximum tries of a read; a write is sent once."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls operations for one account.

    Args:
        transport: sends.
        limits: grants the slots.
        credentials: with key and base URL.
        order_update_sends_id: see the setting of that name.
    """

    transport: Transport
    limits: OwnLimits = field(repr=False)
    credentials: Credentials
    order_update_sends_id: bool = True

    def call(self, operation: Operation[Answered], arguments: Mapping[str, Any]) -> Answered:
        """Call an operation; see the errors of `BackMarketClient`."""
        request = operation.request(arguments)
        answer = self._write(operation, request) if operation.writes else self._read(operation, request)
        return cast("Answered", answer)

    def _read(self, operation: Operation[Any], request: Request) -> Any:
        for attempt in range(1, TRIES + 1):
            try:
                return self._once(operation, request)
            except RateLimited as error:
                if error.status is None or attempt == TRIES:  # without a status the error is our own
                    raise
            except TransientError:
                if attempt == TRIES:
                    raise
                sleep(backoff.between_tries(attempt))
        raise AssertionError

    def _write(self, operation: Operation[Any], request: Request) -> Any:
        try:
            return self._once(operation, request)
        except NetworkError as error:
            if error.delivery == "not_sent":
                raise
            raise _unknown(operation, error) from None
        except (ServerError, BrokenAnswer) as error:
            raise _unknown(operation, error) from None

    def _once(self, operation: Operation[Any], request: Request) -> Any:
        held = self.limits.take(operation, self.credentials)
        send = partial(
            self.transport.send,
            self.credentials,
            operation.method,
            request.path,
            request.parameters,
            body=request.body,
            content_type=request.content_type,
            accept=operation.accept,
        )
        answer = held.send(send, counts_sku_lines=operation.counts_sku_lines)
        return read(operation, check(answer))


def _unknown(operation: Operation[Any], error: TransientError) -> UnknownOutcome:
    look = (
        f"ask {operation.read_back}, and call {operation.name} again only if it shows that nothing happened"
        if operation.read_back
        else f"look it up in Back Market's back office before you call {operation.name} again"
    )
    return UnknownOutcome(
        f"{operation.name} was sent, and its outcome is unknown ({error.code}): {look}.",
        status=error.status,
        request_id=error.request_id,
        cf_ray=error.cf_ray,
    )


def read(operation: Operation[Any], answer: Answer) -> Any:
    """The content of an answer, unconverted.

    Raises:
        BrokenAnswer: if it is not JSON, or has another outer shape than the operation's answer.
    """
    shape: Any = operation.answer
    if shape is type(None):
        return None
    if shape is str:
        return answer.body.decode("utf-8", "replace")
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise BrokenAnswer("The API's answer is not JSON.", status=answer.status) from None
    if not _fits(value, shape):
        raise BrokenAnswer("The API's answer has another shape than documented.", status=answer.status)
    return value


def _fits(value: Any, shape: Any) -> bool:
    if get_origin(shape) is list:
        return isinstance(value, list)
    if not isinstance(value, dict):
        return False
    rows = "results" in _fields(shape)
    return not rows or isinstance(value.get("results"), list)


def _fields(shape: Any) -> Mapping[str, Any]:
    return (get_origin(shape) or shape).__annotations__  # type: ignore[no-any-return]
