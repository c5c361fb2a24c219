"""The table that `make test-servers` ends with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HEAD = ("server", "version", "what was tried", "result")


@dataclass(frozen=True)
class Row:
    """What was tried on a server.

    Attributes:
        server: its name.
        version: of it; empty: unknown.
        tried: what the tests did there, in a few words.
        result: of the tests, such as `112 passed`; or why the server could not be had.
        passed: None: it could not be had.
    """

    server: str
    version: str
    tried: str
    result: str
    passed: bool | None

    @property
    def outcome(self) -> str:
        return {True: "", False: "FAILED: ", None: "not tried: "}[self.passed] + self.result


def markdown(rows: Iterable[Row]) -> str:
    """The table, ready for a document or a note."""
    lines_of_cells = [HEAD, *((row.server, row.version or "-", row.tried, row.outcome) for row in rows)]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines_of_cells]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "".join(f"| {line} |\n" for line in lines)
