"""Python loads this by itself where this folder is on PYTHONPATH: a worker whose lease check is switched off.

It exists to prove that the test of the lease check can fail.
"""

from __future__ import annotations

from typing import Any

from backmarket.sync import checkpoints, leases


def _unfenced(transaction: Any, lease: leases.Lease, assignments: str, values: dict[str, object]) -> None:
    transaction.execute(
        f"UPDATE backmarket.sync_state AS s SET {assignments}"
        " WHERE organization_id = %(organization)s AND resource = %(resource)s",
        {**values, "organization": lease.organization_id, "resource": lease.resource},
    )


leases._fenced = _unfenced
leases.hold = lambda *_: None
checkpoints._refuse_rolled_back = lambda *_: None
