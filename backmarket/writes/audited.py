"""A write as an act of the audit trail: the SKU and the names of fields, never their values."""

from __future__ import annotations

from backmarket.audit import Act
from backmarket.queries.orders import OrderLineState
from backmarket.writes.models import Write

_OF_STATE = {
    OrderLineState.ACCEPTED: "order.accept",
    OrderLineState.SHIPPED: "order.ship",
    OrderLineState.CANCELLED: "order.cancel",
    OrderLineState.REFUNDED_BEFORE_SHIPPING: "order.refund",
    OrderLineState.REFUNDED_AFTER_SHIPPING: "order.refund",
}
_OF_KIND = {
    "update_orderline": ("orderline.identify", "orderline"),
    "update_listing": ("listing.change", "listing"),
    "upload_order_invoice": ("order.invoice", "order"),
}


def act_of(write: Write) -> Act:
    """The act of requesting a write."""
    if write.kind == "update_order":
        state = write.request["new_state"]
        action, kind, more = order_action(state), "order", {"new_state": state}
    else:
        (action, kind), more = _OF_KIND[write.kind], {}
    details = {"write": write.id, **more, **_sku(write), **_fields(write)}
    return Act(action, write.organization_id, kind, write.object_id, details)


def order_action(new_state: object) -> str:
    """The action of moving order lines to a state; a caller's state may be none."""
    return next((action for state, action in _OF_STATE.items() if state == new_state), "order.change")


def decision_of(action: str, write: Write, **details: object) -> Act:
    """The act of a person's decision about a write."""
    return Act(action, write.organization_id, "write", write.id, {"kind": write.kind, **_sku(write), **details})


def _sku(write: Write) -> dict[str, str]:
    return {} if write.sku is None else {"sku": write.sku}


def _fields(write: Write) -> dict[str, list[str]]:
    changes = write.request.get("changes")
    return {"fields": sorted(changes)} if isinstance(changes, dict) else {}
