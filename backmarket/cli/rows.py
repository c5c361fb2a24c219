"""How rows are shown: a page of a list, or one of them; tables for people, JSON for programs."""

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
        noun: what one is called, such as `order line`.
        columns: the heads of their table, and the value of each in a row.
    """

    noun: str
    columns: Mapping[str, Callable[[T], object]]

    def print_page(self, bm: BackMarket, organization: str, page: Page[T], *, as_json: bool) -> None:
        """A page of a list, without personal data, and where the next one begins.

        Args:
            bm: knows the connections.
            organization: whose.
            page: of a query.
            as_json: for a program.

        Raises:
            ConnectionNotFound: it is empty, and nobody connected this organization: a mistyped id.
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
        """The row that was asked for.

        Args:
            bm: knows the connections.
            organization: whose.
            asked: by which id.
            row: of a query.

        Raises:
            ConnectionNotFound: nobody connected this organization.
            NotStored: there is no such row.
        """
        if row is None:
            bm.get_connection_status(organization)
            raise NotStored(f"No {self.noun} {printable(str(asked))} of this organization is stored.")
        return row

    def print_one(self, row: T, *, personal: bool, as_json: bool) -> None:
        """One row; what came from the API as it was only for a program that asks for personal data."""
        document = as_document(row, personal=personal)
        if as_json:
            print_json(document)
        else:
            print_facts({name: value for name, value in document.items() if name != "raw"})

    def print_table(self, rows: Sequence[T]) -> None:
        """A table, for people."""
        print_table(tuple(self.columns), [[value(row) for value in self.columns.values()] for row in rows])


def money(amount: Decimal | None, currency: str | None) -> str | None:
    """An amount with its currency."""
    return None if amount is None else f"{amount} {currency or ''}".strip()
