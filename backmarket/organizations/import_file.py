"""Connecting many organizations from a CSV file, in batches; running it again goes on where it ended.

In a file whose columns are mixed up any cell may be a key: no reason quotes one.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

from backmarket import audit
from backmarket.client import DEFAULT_LOCALES, LOCALES, Credentials, host_for
from backmarket.client.endpoints import ENVIRONMENTS
from backmarket.connections.account import Account
from backmarket.errors import BackMarketError, InvalidArgument, LimiterUnavailable, Unauthorized
from backmarket.limits import account_name
from backmarket.organizations import add_many
from backmarket.organizations.check import count_orders
from backmarket.services import Services

COLUMNS = ("organization", "key", "environment", "region", "locale")
"""Of the file; the last three may be missing or empty."""

BATCH_ROWS = 500
"""Rows of one transaction."""

CHECK_THREADS = 8
"""Keys that are checked at once."""

MAX_REFUSED_KEYS = 20
"""Keys that the API may refuse before no more are checked: many 401s from one address look like an attack."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not connected.

    Attributes:
        row: the line at which it begins, from 1; the header is line 1.
        code: why, for programs.
        reason: why, for people; it quotes no cell.
    """

    row: int
    code: str
    reason: str


@dataclass(slots=True)
class ImportReport:
    """The outcome of an import.

    Attributes:
        rows: number of rows in the file, without the header.
        connected: number of organizations that were connected; in a dry run, that would be.
        unchanged: number of organizations that were connected just so before.
        refused: the other rows.
    """

    rows: int = 0
    connected: int = 0
    unchanged: int = 0
    refused: list[RefusedRow] = field(default_factory=list)


@dataclass(slots=True)
class AccountRow:
    """A row that names an account; `error`: why it is not connected."""

    number: int
    account: Account
    error: BackMarketError | None = None


def import_connections(
    services: Services,
    file: Path | BinaryIO,
    *,
    dry_run: bool = False,
    check: bool = False,
    base_url: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> ImportReport:
    """Connect the organizations of a file; see `BackMarket.import_connections`."""
    with _text_of(file) as text:
        rows = _read(services, text, base_url)
        return connect_rows(services, rows, dry_run=dry_run, check=check, progress=progress)


def connect_rows(
    services: Services,
    rows: Iterator[AccountRow],
    *,
    dry_run: bool,
    check: bool = False,
    progress: Callable[[int], object] | None = None,
) -> ImportReport:
    """Connect the organizations of rows, in batches; the arguments are those of `BackMarket.import_connections`."""
    report, refused_keys = ImportReport(), 0
    while batch := list(islice(rows, BATCH_ROWS)):
        fresh = _not_connected(services, batch, report)
        if check:
            refused_keys = _check_keys(services, fresh, refused_keys)
        if not dry_run:
            _store(services, batch, fresh)
        report.rows += len(batch)
        report.connected += sum(row.error is None for row in fresh)
        report.refused += [RefusedRow(row.number, row.error.code, row.error.message) for row in batch if row.error]
        if progress:
            progress(report.rows)
    return report


def _not_connected(services: Services, batch: Sequence[AccountRow], report: ImportReport) -> list[AccountRow]:
    """Of the valid rows those whose organization is not connected; one that is connected otherwise is refused."""
    valid = [row for row in batch if row.error is None]
    with services.database.transaction() as transaction:
        stored = add_many.stored_accounts(transaction, [row.account.organization_id for row in valid])
    for row in valid:
        before = stored.get(row.account.organization_id)
        if before == add_many.compared(row.account, services.settings):
            report.unchanged += 1
        elif before:
            row.error = InvalidArgument("The organization is connected otherwise, with another key or market.")
    return [row for row in valid if row.account.organization_id not in stored]


def _store(services: Services, batch: Sequence[AccountRow], fresh: Sequence[AccountRow]) -> None:
    """Connect the fresh rows without an error, and record them and what was refused."""
    accounts = [row.account for row in fresh if row.error is None]
    with services.database.transaction() as transaction:
        added = add_many.add_all(transaction, services.key_cipher, services.settings, accounts)
        for row in fresh:
            if row.error is None and row.account.organization_id not in added:
                row.error = InvalidArgument("The organization was connected by another process meanwhile.")
        refused = [(_act(row), audit.Outcome.REFUSED, row.error.code) for row in batch if row.error]
        audit.record_all(transaction, refused)


def _act(row: AccountRow) -> audit.Act:
    return audit.Act("connection.add", details={"row": row.number})


def _check_keys(services: Services, rows: Sequence[AccountRow], refused: int) -> int:
    """Ask the API with each key; returns the number of keys that it has refused in this import."""
    with ThreadPoolExecutor(CHECK_THREADS) as threads:
        for at in range(0, len(rows), CHECK_THREADS):
            some = rows[at : at + CHECK_THREADS]
            if refused >= MAX_REFUSED_KEYS:
                for row in some:
                    row.error = Unauthorized(f"Not checked, as {refused} other keys were refused. Correct those first.")
                continue
            for row, error in zip(some, threads.map(lambda row: _refusal(services, row.account), some), strict=True):
                row.error = error
                refused += isinstance(error, Unauthorized)
    return refused


def _refusal(services: Services, account: Account) -> BackMarketError | None:
    name = account_name(account.api_key, services.settings.need("limiter_key"))
    base_url = account.base_url or host_for(account.region, account.environment)
    locale = account.locale or DEFAULT_LOCALES[account.region]
    try:
        count_orders(services, Credentials(base_url, account.api_key, name, locale))
    except LimiterUnavailable:
        raise
    except BackMarketError as error:
        return error
    return None


def check_private(opened: IO[bytes]) -> None:
    """Check that a file with keys is its owner's alone.

    Raises:
        InvalidArgument: if other users of this machine can read it.
    """
    mode = os.fstat(opened.fileno()).st_mode
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidArgument(
            f"Other users can read this file (mode {stat.S_IMODE(mode):04o}), and it holds keys. Run"
            " `chmod 600` on it first, or hand the rows on without a file."
        )


@contextmanager
def _text_of(file: Path | BinaryIO) -> Iterator[io.TextIOBase]:
    """The file as text.

    Raises:
        InvalidArgument: if it cannot be read, or other users of this machine can read it.
    """
    if not isinstance(file, Path):
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            yield text
        finally:
            text.detach()  # it stays the caller's, open
        return
    try:
        with file.open("rb") as opened:
            check_private(opened)
            yield io.TextIOWrapper(opened, encoding="utf-8-sig", newline="")
    except OSError as error:
        raise InvalidArgument(f"The file cannot be read: {error.strerror}.") from None


def _read(services: Services, text: io.TextIOBase, base_url: str | None) -> Iterator[AccountRow]:
    """The rows of the file, each checked.

    Raises:
        InvalidArgument: if it is not such a CSV file.
    """
    try:
        yield from _checked(services, text, base_url)
    except (csv.Error, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InvalidArgument(f"The file is not a CSV file that can be read: {reason}.") from None


def _checked(services: Services, text: io.TextIOBase, base_url: str | None) -> Iterator[AccountRow]:
    header = text.readline()
    delimiter = ";" if ";" in header else ","
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if len(set(names)) < len(names) or not {"organization", "key"} <= {*names} <= {*COLUMNS}:
        raise InvalidArgument(
            f"The first line must name the columns: {', '.join(COLUMNS)}. Only the last three may be left out."
        )
    seen: set[str] = set()
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    number = 2
    for cells in lines:
        if any(cell.strip() for cell in cells):
            given = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
            row = AccountRow(number, _account(given, base_url))
            row.error = (
                InvalidArgument("The row has more cells than the header.")
                if len(cells) > len(names)
                else fault_of(services, row.account, seen)
            )
            seen.add(row.account.organization_id)
            yield row
        number = lines.line_num + 2


def _account(given: dict[str, str], base_url: str | None) -> Account:
    region = given.get("region", "").upper() or "EU"
    return Account(
        given.get("organization", ""),
        given.get("key", ""),
        given.get("environment", "").lower() or "production",
        region,
        given.get("locale", "").lower() or DEFAULT_LOCALES.get(region),
        base_url,
    )


def fault_of(services: Services, account: Account, seen: set[str]) -> BackMarketError | None:
    """Why an account cannot be connected; None: it can.

    Args:
        seen: the organizations of the rows above.
    """
    if account.region not in LOCALES:
        return InvalidArgument(f"There is no such region; the regions are {', '.join(LOCALES)}.")
    if account.environment not in ENVIRONMENTS:
        return InvalidArgument(f"There is no such environment; the environments are {', '.join(ENVIRONMENTS)}.")
    if account.locale not in LOCALES[account.region]:
        known = ", ".join(LOCALES[account.region])
        return InvalidArgument(f"Region {account.region} has no such locale; it has {known}.")
    try:
        account.checked(services.settings)
    except InvalidArgument as error:
        return error
    return InvalidArgument("A row above names the same organization.") if account.organization_id in seen else None
