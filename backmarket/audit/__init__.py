"""The audit trail: who did what, proved by what, from where, and with which outcome.

Each act is recorded in the transaction of the change; a refused one in a transaction of its own.
"""

from backmarket.audit.actions import ACTIONS
from backmarket.audit.actor import Actor, ProvedBy, acting, current_actor, named_by_application, this_process, this_user
from backmarket.audit.record import Act, Outcome, attempt, record, record_all

__all__ = [
    "ACTIONS",
    "Act",
    "Actor",
    "Outcome",
    "ProvedBy",
    "acting",
    "attempt",
    "current_actor",
    "named_by_application",
    "record",
    "record_all",
    "this_process",
    "this_user",
]
