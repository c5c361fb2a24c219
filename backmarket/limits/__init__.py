"""The rate limiter: who may send a request now, so that the API's limits are used fully, never exceeded."""

from backmarket.limits.limiter import Grant, Limiter, LimiterState, Slot, account_name, wait_for_slot
from backmarket.limits.local import LocalLimiter
from backmarket.limits.shared import SharedLimiter, shared_limiter

__all__ = [
    "Grant",
    "Limiter",
    "LimiterState",
    "LocalLimiter",
    "SharedLimiter",
    "Slot",
    "account_name",
    "shared_limiter",
    "wait_for_slot",
]
