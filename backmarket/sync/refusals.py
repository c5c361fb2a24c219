"""What a refusal of the API means for a resource: never available to the account, or withdrawn from it."""

from __future__ import annotations

from backmarket.errors import BackMarketError, Forbidden, NotAvailable
from backmarket.resources import Resource
from backmarket.sync.leases import Lease
from backmarket.sync.page_walk import Walk


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
