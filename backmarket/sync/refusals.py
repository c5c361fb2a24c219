"""What an error of the API means for a resource: never available, withdrawn, or failing for ever."""

from __future__ import annotations

from backmarket.errors import BackMarketError, Forbidden, NotAvailable, RateLimited
from backmarket.resources import Resource
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import Walk

MAX_FAILED_SLICES = 3
"""Slices in a row that failed requests and stored nothing, after which the run fails."""


def classify(error: BackMarketError, resource: Resource, lease: Lease, walk: Walk) -> BackMarketError:
    """The same error; or, for a 403 where the resource has worked before or must work, `Forbidden`."""
    worked = resource.required or lease.worked or walk.began_at is not None
    if not isinstance(error, NotAvailable) or not worked:
        return error
    return Forbidden(
        f"{error.message} Ask Back Market why this account may not read its {resource.name}.",
        status=error.status,
        request_id=error.request_id,
        cf_ray=error.cf_ray,
    )


def lasting(error: BackMarketError, lease: Lease) -> BackMarketError | None:
    """The error of a run whose slices store nothing, as each ends before a request has failed often enough.

    A 429 ends its slice: the limiter had granted the slot, so either another program uses the key, or the API answers
    this request so whatever the limit. So does an answer that does not come, if it may take longer than a slice.

    Args:
        error: the last one of a slice that stored nothing.
        lease: of that slice.

    Returns:
        None: it may be over soon.
    """
    if lease.failures < MAX_FAILED_SLICES - 1:
        return None
    if not isinstance(error, RateLimited):
        return error
    return RateLimited(
        f"The API answered 429 to {lease.failures + 1} slices in a row, {'with' if error.request_id else 'without'} a"
        " requestId, though the limit was kept. Does another program use this key? If not, ask Back Market.",
        retry_after=error.retry_after,
        by_api=error.by_api,
        status=error.status,
        request_id=error.request_id,
        cf_ray=error.cf_ray,
    )
