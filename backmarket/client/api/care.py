"""After-sales folders and refunds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from backmarket.client import operations
from backmarket.client.api.calls import Calls
from backmarket.client.arguments import Attachment
from backmarket.client.types.care import CareFolder, CareFolderDetails, PostedMessage
from backmarket.client.types.pages import Page
from backmarket.client.types.values import CareProblem, CareState, RefundType, TransferAction
from backmarket.errors import InvalidArgument

SHOWN_BY_FILES: Final = frozenset({"DAMAGED_PACKAGE", "ITEM_NOT_RECEIVED", "OOW_ITEM"})
"""Problems that the API takes only with an attachment (`postProblem`)."""


class CareCalls(Calls):
    """The operations on after-sales folders, each with limits of its own."""

    def get_care_folders(
        self,
        *,
        state: CareState | None = None,
        orderline: int | None = None,
        last_id: int | None = None,
        last_modification_date: datetime | None = None,
        last_message_date: datetime | None = None,
        page: int | None = None,
    ) -> Page[CareFolder]:
        """A page of the after-sales folders.

        Args:
            state: open (0) or closed (9).
            orderline: of this order line.
            last_id: with a higher id.
            last_modification_date: changed later; to the minute.
            last_message_date: with a later message; to the minute.
            page: from 1.
        """
        return self._call(
            operations.GET_CARE_FOLDERS,
            state=state,
            orderline=orderline,
            last_id=last_id,
            last_modification_date=last_modification_date,
            last_message_date=last_message_date,
            page=page,
        )

    def iter_care_folders(
        self,
        *,
        state: CareState | None = None,
        orderline: int | None = None,
        last_id: int | None = None,
        last_modification_date: datetime | None = None,
        last_message_date: datetime | None = None,
    ) -> Iterator[CareFolder]:
        """All such folders, fetched page by page; see `get_care_folders` and `walk`."""
        return self._walk(
            operations.GET_CARE_FOLDERS,
            state=state,
            orderline=orderline,
            last_id=last_id,
            last_modification_date=last_modification_date,
            last_message_date=last_message_date,
        )

    def get_care_folder(self, care_folder_id: int) -> CareFolderDetails:
        """One after-sales folder with its claims and messages."""
        return self._call(operations.GET_CARE_FOLDER, care_folder_id=care_folder_id)

    def post_care_message(
        self, care_folder_id: int, message: str, attachments: Sequence[Attachment] = ()
    ) -> PostedMessage:
        """Post a message to an after-sales folder, which reopens a closed one.

        Args:
            care_folder_id: which.
            message: the text.
            attachments: files.
        """
        return self._call(
            operations.POST_CARE_MESSAGE, care_folder_id=care_folder_id, message=message, attachments=attachments
        )

    def declare_care_problem(
        self,
        care_folder_id: int,
        *,
        problem_type: CareProblem | None = None,
        message: str | None = None,
        attachments: Sequence[Attachment] = (),
    ) -> None:
        """Declare a problem with a returned item.

        Args:
            care_folder_id: which; below 100,000,000 the API takes `OTHER` alone, without message and attachments.
            problem_type: the API's default is `OTHER`.
            message: the text.
            attachments: files; `DAMAGED_PACKAGE`, `ITEM_NOT_RECEIVED` and `OOW_ITEM` need one.
        """
        if problem_type in SHOWN_BY_FILES and not attachments:
            raise InvalidArgument(
                f"declare_care_problem needs the argument attachments where problem_type is {problem_type}."
            )
        return self._call(
            operations.DECLARE_CARE_PROBLEM,
            care_folder_id=care_folder_id,
            problem_type=problem_type,
            message=message,
            attachments=attachments,
        )

    def declare_care_item_transfer(
        self,
        care_folder_id: int,
        *,
        shipper_name: str,
        tracking_number: str,
        action: TransferAction | None = None,
    ) -> None:
        """Declare that a device is on its way back to the customer.

        Args:
            care_folder_id: which.
            shipper_name: the carrier.
            tracking_number: of the parcel.
            action: what was done with it.
        """
        return self._call(
            operations.DECLARE_CARE_ITEM_TRANSFER,
            care_folder_id=care_folder_id,
            shipper_name=shipper_name,
            tracking_number=tracking_number,
            action=action,
        )

    def create_refund(
        self, orderline_id: int, *, refund_type: RefundType, amount: Decimal | str | int | None = None
    ) -> str:
        """Refund an order line.

        Args:
            orderline_id: which.
            refund_type: 4: in full, of a paid line; 5: in full, of an accepted one; 6: of a shipped one.
            amount: for a partial refund.

        Returns:
            The API's answer.
        """
        return self._call(operations.CREATE_REFUND, orderline_id=orderline_id, refund_type=refund_type, amount=amount)
