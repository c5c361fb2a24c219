"""Recording an act: one INSERT in the transaction of the change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from backmarket.audit.actions import ACTIONS
from backmarket.audit.actor import ProvedBy, clean, current_actor
from backmarket.database import Database, Transaction
from backmarket.errors import BackMarketError, DatabaseUnavailable, UsageError


class Outcome(StrEnum):
    """The outcome of an act; see the table `audit`."""

    DONE = "done"
    ASKED = "asked"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Act:
    """An act.

    Args:
        action: one of `ACTIONS`.
        organization_id: whose object it is; None: of no single organization.
        kind: what was acted on, such as `order`.
        object_id: its id.
        details: names of fields, numbers and ids; never a secret, nor a value that may be personal.
    """

    action: str
    organization_id: str | None = None
    kind: str | None = None
    object_id: object = None
    details: Mapping[str, Any] = field(default_factory=dict)


def record(transaction: Transaction, act: Act, outcome: Outcome = Outcome.DONE, code: str | None = None) -> None:
    """Record an act of the current actor; it is committed with the transaction.

    Args:
        act: what was done.
        outcome: its outcome.
        code: of a refusal or a failure.

    Raises:
        KeyError: if there is no such action.
    """
    transaction.execute(_INSERT, _values(act, outcome, code))


def record_all(transaction: Transaction, acts: Iterable[tuple[Act, Outcome, str | None]]) -> None:
    """Record many acts of the current actor in a few messages, each with its outcome and code; see `record`."""
    with transaction.cursor() as cursor:
        cursor.executemany(_INSERT, [_values(*each) for each in acts])


def _values(act: Act, outcome: Outcome, code: str | None) -> dict[str, Any]:
    ACTIONS[act.action]
    actor = current_actor()
    return {
        "actor": actor.name,
        "proved_by": actor.proved_by,
        "origin": actor.origin,
        "action": act.action,
        "organization": clean(act.organization_id),
        "kind": act.kind,
        "object": clean(act.object_id),
        "outcome": outcome,
        "code": code,
        "details": Jsonb(dict(act.details)),
    }


@contextmanager
def attempt(database: Database, act: Act) -> Iterator[None]:
    """Record the act as refused or failed if the block raises an error of ours; the error goes on.

    Nothing is recorded while PostgreSQL is away, nor of a message: anyone on the broker could fill the table.
    """
    try:
        yield
    except BackMarketError as error:
        if current_actor().proved_by is not ProvedBy.BROKER and not isinstance(error, DatabaseUnavailable):
            outcome = Outcome.REFUSED if isinstance(error, UsageError) else Outcome.FAILED
            with suppress(BackMarketError), database.transaction() as transaction:
                record(transaction, act, outcome, error.code)
        raise


_INSERT = """
INSERT INTO backmarket.audit
    (actor, proved_by, origin, action, organization_id, object_kind, object_id, outcome, code, details)
VALUES (%(actor)s, %(proved_by)s, %(origin)s, %(action)s, %(organization)s, %(kind)s, %(object)s, %(outcome)s,
    %(code)s, %(details)s)
"""
