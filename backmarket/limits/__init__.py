"""The rate limiter: grants slots for requests, so that the API's limits are fully used and never exceeded."""

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
