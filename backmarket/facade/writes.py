"""Changes at Back Market, and their outcomes."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, TypedDict, Unpack
from uuid import UUID

from backmarket.client.endpoints import Environment
from backmarket.client.types.values import PublishValue
from backmarket.facade.part import FacadePart
from backmarket.queries.orders import OrderLineState
from backmarket.queries.pagination import Page, every
from backmarket.writes import invoices, manual, rows, submit
from backmarket.writes.audited import order_action
from backmarket.writes.handle import WriteHandle
from backmarket.writes.invoices import Source
from backmarket.writes.models import Write, WriteFilter, WriteKind, WriteState
from backmarket.writes.submit import Call
from backmarket.writes.targets import invoice_lane, order_lane

Money = Decimal | str | int
"""An exact amount; never a float."""


class ListingChanges(TypedDict, total=False):
    """The fields of a listing that may be changed; None empties an optional field.

    Prices, comment, carriers and warranty belong to one market; the quantity is the same in all of them.
    """

    price: Money
    min_price: Money | None
    quantity: int
    comment: str | None
    warranty_delay: int
    shipper_1: str | None
    shipper_display_1: str | None
    shipping_delay_1: int | None
    shipping_price_1: Money | None
    shipper_2: str | None
    shipper_display_2: str | None
    shipping_delay_2: int | None
    shipping_price_2: Money | None
    shipper_3: str | None
    shipper_display_3: str | None
    shipping_delay_3: int | None
    shipping_price_3: Money | None
    pub_state: PublishValue


class Writes(FacadePart):
    """The methods of `BackMarket` that change something at Back Market.

    Each call checks what it can, writes a row, and returns a handle. A worker sends the write ahead of the account's
    syncs, and never resends it blindly. All methods raise

    - `InvalidWrite`: if the API would refuse the write; the text names every wrong argument.
    - `NotStoredYet`: if the object to change is not stored: sync or fetch it first.
    - `IdempotencyConflict`: if the idempotency key belongs to another write.
    - `ConnectionNotFound`, `ConnectionDisabled`, `ApiKeyMissing`, `ConnectionUnauthorized`, `EnvironmentMismatch`,
      `InvalidArgument`: if the connection cannot be used like this.

    and take

    - `idempotency_key`: the caller's own name for the write. A call with the same key and the same arguments returns
      the handle of the first one, with its outcome.
    - `environment`: must be the connection's, if given.
    - `locale`: a market other than the connection's.
    """

    def update_order(
        self,
        organization_id: str,
        order_id: int,
        new_state: OrderLineState | int,
        *,
        sku: str | None = None,
        tracking_number: str | None = None,
        tracking_url: str | None = None,
        shipper: str | None = None,
        date_shipping: datetime | None = None,
        return_reason: int | None = None,
        return_message: str | None = None,
        vat_type: str | None = None,
        imei: str | None = None,
        serial_number: str | None = None,
        unchecked_imei: bool = False,
        idempotency_key: str | None = None,
        environment: Environment | None = None,
        locale: str | None = None,
    ) -> WriteHandle:
        """Move lines of an order to another state. The stored order and its lines follow the API's answer.

        Args:
            order_id: the order's id; the order must be stored.
            new_state: 2 accept or 4 cancel a paid line, 3 ship or 5 refund an accepted one, 6 refund a shipped one.
            sku: of the line, if lines of several SKUs could move; state 3 moves all accepted ones.
            tracking_number: of the parcel; required for state 3. Only state 3 accepts it and the next three.
            tracking_url: http or https.
            shipper: the carrier.
            date_shipping: with its offset; None: now.
            return_reason: of a cancellation or a refund.
            return_message: to the customer, with the same.
            vat_type: `REGULAR` or `MARGINAL`.
            imei: of the device, if the order has one line of quantity 1; it cannot be corrected later.
            serial_number: the same.
            unchecked_imei: True: the IMEI has another format, and is sent unchecked.
            idempotency_key: see the class; so are `environment` and `locale`.
            environment: must be the connection's.
            locale: another than the connection's.
        """
        given = {
            "sku": sku,
            "tracking_number": tracking_number,
            "tracking_url": tracking_url,
            "shipper": shipper,
            "date_shipping": date_shipping,
            "return_reason": return_reason,
            "return_message": return_message,
            "vat_type": vat_type,
            "imei": imei,
            "serial_number": serial_number,
            "unchecked_imei": unchecked_imei,
        }
        call = Call(organization_id, environment, locale, idempotency_key)
        with self._attempt(order_action(new_state), organization_id, "order", order_id):
            return submit.update_order(self._services, call, order_id, new_state, given)

    def update_orderline(
        self,
        organization_id: str,
        orderline_id: int,
        *,
        imei: str | None = None,
        serial_number: str | None = None,
        unchecked_imei: bool = False,
        idempotency_key: str | None = None,
        environment: Environment | None = None,
        locale: str | None = None,
    ) -> WriteHandle:
        """Register the identifiers of a sold device. Once registered, they can never be corrected.

        Args:
            orderline_id: the order line's id; the line must be stored.
            imei: 15 digits with the right check digit.
            serial_number: up to 50 characters.
            unchecked_imei: True: the IMEI has another format, and is sent unchecked.
            idempotency_key: see the class; so are `environment` and `locale`.
            environment: must be the connection's.
            locale: another than the connection's.
        """
        given = {"imei": imei, "serial_number": serial_number, "unchecked_imei": unchecked_imei}
        call = Call(organization_id, environment, locale, idempotency_key)
        with self._attempt("orderline.identify", organization_id, "orderline", orderline_id):
            return submit.update_orderline(self._services, call, orderline_id, given)

    def update_listing(
        self,
        organization_id: str,
        listing_id: UUID | str | int | None = None,
        *,
        sku: str | None = None,
        idempotency_key: str | None = None,
        environment: Environment | None = None,
        locale: str | None = None,
        market: str | None = None,
        **changes: Unpack[ListingChanges],
    ) -> WriteHandle:
        """Change a listing; fields that are not named stay. Uses one of the account's hourly SKU lines.

        Args:
            listing_id: its UUID, or its older whole number; the listing must be stored.
            sku: names the listing instead.
            idempotency_key: see the class; so is `environment`.
            environment: must be the connection's.
            locale: the market of price, texts and carriers, if it is not the connection's.
            market: the same, of the connection's markets, whose stored rows follow the answer.
            **changes: see `ListingChanges`. Quantity 0 takes it off sale; `pub_state` 2 publishes it, by recorded use
                and not by the document.
        """
        call = Call(organization_id, environment, locale, idempotency_key, market)
        with self._attempt("listing.change", organization_id, "listing", listing_id):
            return submit.update_listing(self._services, call, listing_id, sku, {**changes})

    def upload_order_invoice(
        self,
        organization_id: str,
        order_id: int,
        *,
        content: bytes | None = None,
        file: Path | str | BinaryIO | None = None,
        object_key: str | None = None,
        url: str | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
        environment: Environment | None = None,
        locale: str | None = None,
    ) -> WriteHandle:
        """Give an order an invoice, from exactly one of `content`, `file`, `object_key` and `url`.

        The PDF is read and checked during the call, and kept in the bucket until the order is erased or the write's
        retention is over. An upload with a lost answer cannot be read back: it stays unknown until a person decides.

        Args:
            order_id: the order's id; the order must be stored.
            content: the PDF.
            file: a path, or an open binary file.
            object_key: an object of the bucket.
            url: where the PDF is, on one of the hosts of `BACKMARKET_INVOICE_ORIGINS`; no key is sent there.
            filename: as the customer sees it; ends in `.pdf`. None: the file's own name.
            idempotency_key: see the class; so are `environment` and `locale`.
            environment: must be the connection's.
            locale: another than the connection's.

        Raises:
            InvalidArgument: if the file is not a PDF, or is unreadable.
            TooLarge: if it has more bytes than `BACKMARKET_INVOICE_MAX_BYTES`.
            OriginRefused: if the URL's host is not allowed.
            BucketUnavailable: if the S3 server is away; nothing was queued.
        """
        call = Call(organization_id, environment, locale, idempotency_key)
        with self._attempt("order.invoice", organization_id, "order", order_id):
            return invoices.upload_order_invoice(
                self._services, call, order_id, Source(content, file, object_key, url), filename
            )

    def get_writes(
        self,
        organization_id: str,
        *,
        state: WriteState | str | None = None,
        kind: WriteKind | None = None,
        object_id: UUID | str | int | None = None,
        order_id: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Write]:
        """Writes, the newest first.

        Args:
            state: only `pending`, `sending`, `succeeded`, `refused` or `unknown` ones.
            kind: only of this kind, such as `update_order`.
            object_id: only of this order, order line or listing.
            order_id: only of this order, its lines and its invoices.
            limit: 1 to 1000.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidArgument: if an argument is invalid.
        """
        lanes = None if order_id is None else (order_lane(order_id), invoice_lane(order_id))
        where = WriteFilter.of(state, kind, object_id, lanes)
        return rows.page(self._services.database, organization_id, where, limit=limit, cursor=cursor)

    iter_writes = every(get_writes)

    def get_write(self, organization_id: str, write_id: int) -> Write | None:
        """One write; None: it does not exist, or its retention is over."""
        return rows.get(self._services.database, organization_id, write_id)

    def retry_write(self, organization_id: str, write_id: int) -> WriteHandle:
        """Queue a write again that was refused, or whose outcome is unknown.

        A person has to decide this: an invoice that had arrived after all is then there twice.

        Raises:
            ConnectionNotFound, WriteNotFound: if there is no such write.
            NotUndecided: if its request may still arrive, it is not sent yet, it succeeded, or its order was erased.
        """
        with self._attempt("write.retry", organization_id, "write", write_id):
            return manual.retry_write(self._services, organization_id, write_id)

    def settle_write(self, organization_id: str, write_id: int, *, arrived: bool) -> Write:
        """Settle a write whose outcome is unknown, after a person has looked at Back Market.

        Later writes of the same object then continue.

        Args:
            write_id: the write's id.
            arrived: the change is there.

        Raises:
            ConnectionNotFound, WriteNotFound: if there is no such write.
            NotUndecided: if its request may still arrive, it is not sent yet, or it has ended.
        """
        with self._attempt("write.settle", organization_id, "write", write_id):
            return manual.settle_write(self._services, organization_id, write_id, arrived=arrived)
