"""How rows are shown: a page of a list, or one row; tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Generic, TypeVar

from backmarket.cli.failures import NotStored
from backmarket.cli.output import as_document, note, print_facts, print_json, print_table, printable

if TYPE_CHECKING:
    from backmarket.facade import BackMarket
    from backmarket.queries.pagination import Page

T = TypeVar("T")


@dataclass(frozen=True)
class Rows(Generic[T]):
    """Rows of one kind.

    Args:
        noun: the name of one row, such as `order line`.
        columns: the heads of the table, and the function that gives each one's value.
    """

    noun: str
    columns: Mapping[str, Callable[[T], object]]

    def print_page(self, bm: BackMarket, organization: str, page: Page[T], *, as_json: bool) -> None:
        """Print a page of a list, without personal data, and the cursor of the next one.

        Args:
            bm: the object to look the connection up with.
            page: the result of a query.
            as_json: print JSON.

        Raises:
            ConnectionNotFound: if the page is empty and the organization has no connection: a mistyped id.
        """
        if not page.items:
            bm.get_connection_status(organization)
        if as_json:
            print_json({"items": [as_document(row) for row in page], "next_cursor": page.next_cursor})
            return
        if not page.items:
            note(f"No such {self.noun} is stored.")
            return
        self.print_table(page.items)
        if page.next_cursor is not None:
            note(f"There are more: --cursor {page.next_cursor}")

    def found(self, bm: BackMarket, organization: str, asked: object, row: T | None) -> T:
        """The requested row.

        Args:
            bm: the object to look the connection up with.
            asked: the requested id.
            row: the result of a query.

        Raises:
            ConnectionNotFound: if the organization has no connection.
            NotStored: if there is no such row.
        """
        if row is None:
            bm.get_connection_status(organization)
            raise NotStored(f"No {self.noun} {printable(str(asked))} of this organization is stored.")
        return row

    def print_one(self, row: T, *, personal: bool, as_json: bool) -> None:
        """Print one row; the API's raw data only as JSON and with personal data requested."""
        document = as_document(row, personal=personal)
        if as_json:
            print_json(document)
        else:
            print_facts({name: value for name, value in document.items() if name != "raw"})

    def print_table(self, rows: Sequence[T]) -> None:
        """Print a table, for people."""
        print_table(tuple(self.columns), [[value(row) for value in self.columns.values()] for row in rows])


def money(amount: Decimal | None, currency: str | None) -> str | None:
    """An amount with its currency."""
    return None if amount is None else f"{amount} {currency or ''}".strip()
