"""What a refusal of the API means for a resource: never available, withdrawn, or limited for ever."""

from __future__ import annotations

from backmarket.errors import BackMarketError, Forbidden, NotAvailable, RateLimited
from backmarket.resources import Resource
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import Walk

LIMITED_SLICES = 3
"""Slices in a row that were answered 429 and stored nothing, after which the run fails."""


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


def lasting_limit(error: RateLimited, lease: Lease) -> RateLimited | None:
    """The error of a run that the API answers with nothing but 429; None: it may be over soon.

    The limiter had granted the slots. So either another program uses the key, or the API answers this request so
    whatever the limit. One 429 fails no sync.

    Args:
        error: the last 429 of a slice that stored nothing.
        lease: of that slice.
    """
    if lease.failures < LIMITED_SLICES - 1:
        return None
    return RateLimited(
        f"The API answered 429 to {lease.failures + 1} slices in a row, {'with' if error.request_id else 'without'} a"
        " requestId, though the limit was kept. Does another program use this key? If not, ask Back Market.",
        retry_after=error.retry_after,
        by_api=error.by_api,
        status=error.status,
        request_id=error.request_id,
        cf_ray=error.cf_ray,
    )
