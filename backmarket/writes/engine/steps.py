"""The steps of a write within a slice: choosing the next one, and running it in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backmarket.connections import EncryptedCredentials
from backmarket.errors import ConnectionChanged
from backmarket.limits import Slot
from backmarket.limits.sku_quota import Reserved
from backmarket.work import WorkLease
from backmarket.work.send_deadline import Stopwatch
from backmarket.writes.engine.retry_policy import elsewhere, erased, lost
from backmarket.writes.engine.sender import Loaded, Read, Sent, WriteSender, crashed
from backmarket.writes.models import Transition, Write, WriteState
from backmarket.writes.request.http import Request, http_request
from backmarket.writes.request.models import from_json
from backmarket.writes.targets import subject_of

Action = Literal["send", "read", "load", "ask"]
"""A step's action: send the write, read it back, load its file, or `ask` for its prior values, which are not stored."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next step of a write.

    Attributes:
        action: what to do.
        request: the request to send, if the action is `send`.
    """

    write: Write
    action: Action
    request: Request | None = None

    @property
    def asks(self) -> bool:
        """Whether the step calls the API, not only the bucket."""
        return self.action != "load"


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step.

    Attributes:
        outcome: of its request.
        line: the SKU line reserved for it.
    """

    step: Step
    outcome: Sent | Read | Loaded
    line: Reserved | None = None


def next_step(
    write: Write, content: bytes | None, lease: WorkLease, *, sends_id: bool, unstored: bool = False
) -> Step | Transition:
    """The next step of a due write; or its next state, if no step is needed.

    Args:
        content: of its file, once loaded.
        lease: the lease that the worker holds.
        sends_id: see `http_request`.
        unstored: its listing is not stored as its market shows it.
    """
    if not write.request:
        return erased(write)
    if write.state is not WriteState.PENDING:
        return _next_of_sent(write, lease)
    if not _is_here(write, lease):
        return Transition(WriteState.REFUSED, error=MOVED)
    if write.kind == "upload_order_invoice" and content is None:
        return Step(write, "load")
    if write.prior is None and (unstored or market_of(write, lease.encrypted) is None):
        return Step(write, "ask")
    return Step(write, "send", http_request(from_json(write.kind, write.request), content, sends_id=sends_id))


def _next_of_sent(write: Write, lease: WorkLease) -> Step | Transition:
    if subject_of(write) is None:
        return lost(write, None)
    return Step(write, "read") if _is_here(write, lease) else elsewhere()


def market_of(write: Write, encrypted: EncryptedCredentials) -> str | None:
    """The market whose stored rows have the prior values: a further one; empty: that of the connection's locale.

    Returns:
        None: none has, as the write is for a market whose listings are not copied.
    """
    if write.kind != "update_listing" or write.locale == encrypted.locale:
        return ""
    return write.locale if write.locale in encrypted.markets else None


def do(sender: WriteSender, step: Step, slot: Slot | None, began: Stopwatch, line: Reserved | None) -> StepResult:
    """Run a step. Runs in a thread of the pool: no database access, and nothing of the slice's state.

    Args:
        sender: sends the requests.
        step: the step.
        slot: the limiter's slot, if the step calls the API.
        began: runs since the transaction that stored `sending` began.
        line: the SKU line reserved for it.
    """
    try:
        outcome = _outcome(sender, step, slot, began)
    except Exception as error:  # noqa: BLE001 - the slice waits for it, and a write may have been sent
        kind = {"send": Sent, "load": Loaded}.get(step.action, Read)
        outcome = kind(crashed(step.write, error))
    return StepResult(step, outcome, line)


def _outcome(sender: WriteSender, step: Step, slot: Slot | None, began: Stopwatch) -> Sent | Read | Loaded:
    if slot is None:
        return sender.load(step.write)
    if step.request is not None:
        return sender.send(step.write, step.request, slot, began)
    return sender.read(step.write, slot)


def _is_here(write: Write, lease: WorkLease) -> bool:
    """Whether the connection still belongs to the write's market."""
    encrypted = lease.encrypted
    return (write.environment, write.region, write.base_url) == (
        encrypted.environment,
        encrypted.region,
        encrypted.base_url,
    )


MOVED = ConnectionChanged(
    "The connection has another region, environment or base URL than when the change was requested, so it was not sent."
    " Request it again if it is still wanted."
)
