"""Deliveries and returns as the sandbox keeps them, with their own life cycle: label, scan, pickup, arrival."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from backmarket.sandbox import times
from backmarket.sandbox.times import Pen
from backmarket.sandbox.world.order_stock import OrderRow
from backmarket.sandbox.world.stock import Stock, Where

Kind = Literal["deliveries", "returns"]
Body = dict[str, Any]

LABEL_HOST: Final = "http://labels.sandbox.invalid"
"""Placeholder of the sandbox's address, replaced in each answer by the one the caller uses."""

_CARRIERS: Final = ((11, "Chronopost"), (12, "Colissimo"), (13, "UPS"), (14, "DHL Express"))
_STAGES: Final = (0, 1, 2, 3, 4, 4, 4, 4, 4, 4)
"""Created, labelled, scanned, picked up, arrived; invented shipments are drawn by these shares."""

_STAGE_TIME: Final = timedelta(hours=6)
"""Time between two stages of an invented shipment."""


class ShipmentRow(NamedTuple):
    """One delivery or return: the values that its list filters and sorts by, and its JSON."""

    id: int
    order_id: int
    created: datetime
    picked_up: datetime | None
    stage: int
    label: str | None
    """The label's path."""
    body: bytes


class ShipmentStock(Stock[ShipmentRow]):
    """The deliveries or the returns of one seller.

    Args:
        kind: one of the two; they differ in names of members and in the label's address.
        ids: the source of shipment ids.
        rng: the source of everything else.
        pen: writes the times of creation.
        orders: the orders that new shipments belong to.
    """

    def __init__(
        self, kind: Kind, ids: Callable[[], int], rng: Random, pen: Pen, orders: Callable[[], Sequence[OrderRow]]
    ) -> None:
        super().__init__(rng)
        self.name = kind  # type: ignore[misc]
        self._ids = ids
        self._pen = pen
        self._orders = orders
        self.labels: dict[str, int] = {}

    def fill(self, count: int, latest: datetime) -> None:
        """Invent shipments of accepted orders, with no time after `latest`."""
        accepted = [row for row in self._orders() if row.state in {3, 9}] or [*self._orders()]
        for _ in range(count if accepted else 0):
            order = accepted[int(self.rng.random() * len(accepted))]
            stage = _STAGES[int(self.rng.random() * len(_STAGES))]
            created = order.created + (latest - order.created) * self.rng.random() * 0.5
            self._put(self._invent(order, created, min(stage, (latest - created) // _STAGE_TIME)))

    def shown(self) -> list[ShipmentRow]:
        """All shipments, oldest first."""
        return self.rows.listed("shown", order=by_creation)

    def add(self, now: datetime, where: Where) -> ShipmentRow:
        """A new shipment of any order, without a label yet; at the oldest end, created before all others."""
        shown = self.shown()
        created = shown[0].created - timedelta(minutes=1) if where == "oldest" and shown else now
        orders = self._orders()
        if not orders:
            raise ValueError(f"{self.name} need an order")
        return self._put(self._invent(self.rng.choice(orders), created, 0))

    def add_for(self, order: OrderRow, line_ids: Sequence[int], now: datetime) -> ShipmentRow:
        """The delivery that BackShip creates, with its label, once order lines were accepted."""
        return self._put(self._invent(order._replace(lines=tuple(line_ids)), now, 1))

    def modify(self, row: ShipmentRow, now: datetime, fields: Body, *, silent: bool, market: str = "") -> None:
        """Move a shipment to its next stage, or set some of its members. The change has no date."""
        body: Body = msgspec.json.decode(row.body)
        stage = row.stage
        if fields:
            body.update(fields)
        elif stage == 4:
            body["trackingUrl"] = f"https://carrier.example/{row.id}/{self.new_number()}"
        else:
            stage += 1
            self._reach(body, stage, now)
        self._put(self._row(body, row.created, row.picked_up if stage != 3 else row.picked_up or now, stage))

    def remove(self, row: ShipmentRow, market: str = "") -> None:
        """Remove a shipment and its label."""
        super().remove(row)
        if row.label is not None:
            self.labels.pop(row.label, None)

    def _put(self, row: ShipmentRow) -> ShipmentRow:
        self.rows.put([row])
        if row.label is not None:
            self.labels[row.label] = row.id
        return row

    def _row(self, body: Body, created: datetime, picked_up: datetime | None, stage: int) -> ShipmentRow:
        returned = self.name == "returns"
        label = body["label" if returned else "labelUrl"]
        path = label.removeprefix(LABEL_HOST) if label else None
        order_id = body["orderId" if returned else "order"]
        return ShipmentRow(body["shipmentId"], order_id, created, picked_up, stage, path, msgspec.json.encode(body))

    def _invent(self, order: OrderRow, created: datetime, stage: int) -> ShipmentRow:
        rng = self.rng
        number = self._ids()
        carrier_id, carrier = _CARRIERS[int(rng.random() * len(_CARRIERS))]
        tracking = f"{rng.getrandbits(40):010X}"
        body: Body = {
            "shipmentId": number,
            "carrierId": carrier_id,
            "carrierName": carrier,
            "referenceNumber": f"1-{order.id}-{number}",
            "trackingNumber": tracking,
            "trackingUrl": f"https://carrier.example/tracking/{tracking}",
            "hubScanned": False,
            "invoicedCurrency": "EUR",
            "invoicedPrice": 5 + int(rng.random() * 30),
            "datePickup": None,
            "dateCreation": self._pen.any(created),
            "dateDelivery": None,
        }
        body |= self._kind_fields(order)
        for reached in range(1, stage + 1):
            self._reach(body, reached, created + _STAGE_TIME * reached)
        return self._row(body, created, created + _STAGE_TIME * 3 if stage >= 3 else None, stage)

    def _kind_fields(self, order: OrderRow) -> Body:
        if self.name == "returns":
            line = order.lines[int(self.rng.random() * len(order.lines))]
            return {"orderId": order.id, "orderlineId": line, "label": None, "type": "RETURN"}
        lines = list(order.lines)
        return {"order": order.id, "orderlines": lines, "labelUrl": None, "type": "DELIVERY", "pickupInfo": None}

    def _reach(self, body: Body, stage: int, now: datetime) -> None:
        moment = times.write_time(now.astimezone(UTC), "offset")
        if stage == 1:
            self._print_label(body)
        elif stage == 2:
            body["hubScanned"] = True
        elif stage == 3:
            body["datePickup"] = moment
            if "pickupInfo" in body:
                body["pickupInfo"] = _pickup_info(body["shipmentId"], now)
        else:
            body["dateDelivery"] = moment

    def _print_label(self, body: Body) -> None:
        name = UUID(int=self.rng.getrandbits(128), version=4)
        if self.name == "returns":
            body["label"] = f"{LABEL_HOST}/static/return_labels/{name}.pdf"
        else:
            body["labelUrl"] = f"/static/shipment_labels/eu-{name}-1.pdf"


def by_creation(row: ShipmentRow) -> tuple[datetime, int]:
    """The sort key of the lists."""
    return row.created, row.id


def _pickup_info(shipment_id: int, now: datetime) -> Body:
    moment = times.write_time(now.astimezone(UTC), "offset")
    return {
        "confirmationNumber": f"{shipment_id}NB",
        "datePickupActual": moment,
        "datePickupRangeStart": moment,
        "datePickupRangeEnd": times.write_time(now.astimezone(UTC) + timedelta(hours=4), "offset"),
        "datePickupRequested": f"{now:%Y-%m-%d}",
        "isCanceled": False,
        "pickupId": shipment_id + 7,
    }
