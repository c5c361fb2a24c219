"""Listings, and the tasks for files of listings."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import UUID

from backmarket.client import operations
from backmarket.client.api.calls import Calls
from backmarket.client.arguments import UNSET, Unset
from backmarket.client.types.listings import BulkTask, Listing, ListingDetail, UpdatedListing
from backmarket.client.types.pages import Page
from backmarket.client.types.tasks import Task
from backmarket.client.types.values import PublicationStateValue, PublishValue, Shipper
from backmarket.errors import InvalidArgument

if TYPE_CHECKING:
    from backmarket.queries.listings import PublicationState

FILE_LINES: Final = 15_000
"""Maximum rows of a file of listings (`POST /ws/listings`)."""


class ListingCalls(Calls):
    """The operations on listings, and on tasks."""

    def get_listings(
        self,
        *,
        publication_state: PublicationStateValue | PublicationState | None = None,
        min_quantity: int | None = None,
        max_quantity: int | None = None,
        page: int | None = None,
        page_size: int | None = None,
    ) -> Page[Listing]:
        """A page of the listings, with prices and texts of the client's locale.

        Args:
            publication_state: whether they are on sale.
            min_quantity: minimum number on sale.
            max_quantity: maximum number on sale.
            page: from 1.
            page_size: at most 50; the API's default is 10.
        """
        return self._call(
            operations.GET_LISTINGS,
            publication_state=publication_state,
            min_quantity=min_quantity,
            max_quantity=max_quantity,
            page=page,
            page_size=page_size,
        )

    def iter_listings(
        self,
        *,
        publication_state: PublicationStateValue | PublicationState | None = None,
        min_quantity: int | None = None,
        max_quantity: int | None = None,
    ) -> Iterator[Listing]:
        """All such listings, fetched page by page; see `get_listings` and `walk`."""
        return self._walk(
            operations.GET_LISTINGS,
            publication_state=publication_state,
            min_quantity=min_quantity,
            max_quantity=max_quantity,
            page_size=50,
        )

    def get_listing_by_id(self, listing_id: UUID | str | int) -> ListingDetail:
        """One listing, by its UUID or its older integer id."""
        return self._call(operations.GET_LISTING_BY_ID, listing_id=listing_id)

    def get_listing_detail(
        self, *, sku: str | None = None, listing_uuid: UUID | str | None = None, listing_id: int | None = None
    ) -> ListingDetail:
        """One listing, by its SKU, or by either of its ids.

        Args:
            sku: the seller's own name for it.
            listing_uuid: its UUID.
            listing_id: its older integer id.
        """
        return self._call(operations.GET_LISTING_DETAIL, sku=sku, listing_uuid=listing_uuid, listing_id=listing_id)

    def create_or_update_listings(
        self, catalog: str, *, delimiter: str = ";", quotechar: str = '"', encoding: str = "utf-8"
    ) -> BulkTask:
        """Send a CSV file of listings, at most 15,000 rows below its header; the API processes it later.

        Beside the limits that the client keeps, the API takes some 2,000 SKU lines an hour of an account.

        Args:
            catalog: the file's text.
            delimiter: between its columns.
            quotechar: around its cells.
            encoding: of the file.

        Returns:
            The task; its id is `bodymessage`, see `get_task_status`.
        """
        arguments = {"catalog": catalog, "delimiter": delimiter, "quotechar": quotechar, "encoding": encoding}
        operations.CREATE_OR_UPDATE_LISTINGS.request(arguments)
        try:
            lines = csv.reader(io.StringIO(catalog, newline=""), delimiter=delimiter, quotechar=quotechar)
            rows = sum(1 for line in lines if line) - 1
        except (csv.Error, ValueError, TypeError):
            raise InvalidArgument(
                "The argument catalog of create_or_update_listings cannot be read as a CSV file in this dialect."
            ) from None
        if rows > FILE_LINES:
            raise InvalidArgument(
                f"The argument catalog of create_or_update_listings has {rows} rows, and the API takes {FILE_LINES}:"
                " send it in parts."
            )
        return self._call(operations.CREATE_OR_UPDATE_LISTINGS, **arguments)

    def update_listing(
        self,
        listing_id: UUID | str | int,
        *,
        quantity: int | None = None,
        price: Decimal | str | int | None = None,
        min_price: Decimal | str | int | Unset | None = UNSET,
        currency: str | None = None,
        comment: str | Unset | None = UNSET,
        warranty_delay: int | None = None,
        pub_state: PublishValue | None = None,
        shipper_1: Shipper | Unset | None = UNSET,
        shipper_display_1: str | Unset | None = UNSET,
        shipping_delay_1: int | Unset | None = UNSET,
        shipping_price_1: Decimal | str | int | Unset | None = UNSET,
        shipper_2: Shipper | Unset | None = UNSET,
        shipper_display_2: str | Unset | None = UNSET,
        shipping_delay_2: int | Unset | None = UNSET,
        shipping_price_2: Decimal | str | int | Unset | None = UNSET,
        shipper_3: Shipper | Unset | None = UNSET,
        shipper_display_3: str | Unset | None = UNSET,
        shipping_delay_3: int | Unset | None = UNSET,
        shipping_price_3: Decimal | str | int | Unset | None = UNSET,
    ) -> UpdatedListing:
        """Change some fields of a listing, in the market of the client's locale; all others stay.

        Where a default is `UNSET`, None empties the field.

        Args:
            listing_id: its UUID, or its older integer id.
            quantity: number on sale; 0 takes it offline.
            price: in `currency`.
            min_price: the lowest price that the API may set automatically.
            currency: such as `EUR`.
            comment: shown to the customer.
            warranty_delay: of the warranty.
            pub_state: 2 publishes the listing; the document does not have it, recorded use does.
            shipper_1: the first carrier.
            shipper_display_1: its name for the customer.
            shipping_delay_1: how long it takes.
            shipping_price_1: what it costs.
            shipper_2: the second carrier.
            shipper_display_2: its name for the customer.
            shipping_delay_2: how long it takes.
            shipping_price_2: what it costs.
            shipper_3: the third carrier.
            shipper_display_3: its name for the customer.
            shipping_delay_3: how long it takes.
            shipping_price_3: what it costs.
        """
        return self._call(
            operations.UPDATE_LISTING,
            listing_id=listing_id,
            quantity=quantity,
            price=price,
            min_price=min_price,
            currency=currency,
            comment=comment,
            warranty_delay=warranty_delay,
            pub_state=pub_state,
            shipper_1=shipper_1,
            shipper_display_1=shipper_display_1,
            shipping_delay_1=shipping_delay_1,
            shipping_price_1=shipping_price_1,
            shipper_2=shipper_2,
            shipper_display_2=shipper_display_2,
            shipping_delay_2=shipping_delay_2,
            shipping_price_2=shipping_price_2,
            shipper_3=shipper_3,
            shipper_display_3=shipper_display_3,
            shipping_delay_3=shipping_delay_3,
            shipping_price_3=shipping_price_3,
        )

    def get_task_status(self, task_id: int) -> Task:
        """The status of a task for a file of listings."""
        return self._call(operations.GET_TASK_STATUS, task_id=task_id)
