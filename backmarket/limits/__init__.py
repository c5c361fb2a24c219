"""The rate limiter: grants slots for requests, so that the API's limits are fully used and never exceeded."""

from backmarket.limits.limiter import Grant, Limiter, LimiterState, Slot, account_name, wait_for_slot
from backmarket.limits.local import LocalLimiter

__all__ = [
    "Grant",
    "Limiter",
    "LimiterState",
    "LocalLimiter",
    "Slot",
    "account_name",
    "wait_for_slot",
]
