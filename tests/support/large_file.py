"""A file of 5,000 lines, for jobs that real workers do: what it says, and whether each line arrived once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from backmarket.bulk.handle import BulkHandle
from backmarket.bulk.rows import Job, JobState, Outcome
from tests.support.bulk_files import as_csv
from tests.support.sellers import Shop

LINES = 5000
REFUSED = (17, 2503, 5001)
"""Lines of the file, its header being the first, that Back Market refuses: nothing says which product they are."""

LIMIT, WINDOW = 2000, 20.0
"""SKU lines, and seconds."""


@dataclass(frozen=True)
class LargeFile:
    """The file, for a seller who has that many listings.

    Attributes:
        rows: its lines.
    """

    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, shop: Shop, organization: str) -> LargeFile:
        """Another price and quantity for each listing, and the lines that are refused in between."""
        listed = shop.sandbox.truth(organization, "listings")[: LINES - len(REFUSED)]
        rows = [
            {"sku": row["sku"], "quantity": row["quantity"] + 5, "price": f"{100 + number}.50"}
            for number, row in enumerate(listed)
        ]
        for line in REFUSED:
            rows.insert(line - 2, {"sku": f"NEW-{line}", "quantity": 1, "price": "12.00"})
        return cls(rows)

    @property
    def text(self) -> str:
        """As the seller wrote it."""
        return as_csv(self.rows).decode()

    def assert_done_once(self, shop: Shop, organization: str, handle: BulkHandle) -> Job:
        """Each line arrived once, none beyond the quota, and the report tells which were refused."""
        stats = shop.sandbox.stats().sellers[organization]
        sent = Counter(
            each["object"]
            for each in shop.sandbox.truth(organization, "writes")
            if each["operation"] == "listings.bulk"
        )
        assert (stats.sku_lines, len(sent)) == (LINES, LINES), "5,000 lines, and 5,000 SKUs"
        assert max(sent.values()) == 1, "no SKU twice"
        assert (stats.sku_lines_refused, stats.violations) == (0, 0), "the quota and the limit were kept"
        job = handle.status()
        assert (job.state, job.lines_done, job.lines_failed) == (JobState.DONE_WITH_ERRORS, LINES - 3, 3), job
        report = {each.line: each for each in handle.report()}
        assert list(report) == list(range(2, LINES + 2))
        assert [report[line].sku for line in report] == [row["sku"] for row in self.rows]
        failed = {line: each for line, each in report.items() if each.outcome is not Outcome.DONE}
        assert {line: each.outcome for line, each in failed.items()} == dict.fromkeys(REFUSED, Outcome.FAILED)
        assert all(each.message for each in failed.values())
        has = _values(shop.sandbox.truth(organization, "listings"))
        wanted = _values(self.rows)
        assert {sku for sku in has.keys() & wanted.keys() if has[sku] != wanted[sku]} == set()
        return job


def _values(rows: list[dict[str, Any]]) -> dict[str, tuple[int, float]]:
    return {row["sku"]: (row["quantity"], float(row["price"])) for row in rows}
