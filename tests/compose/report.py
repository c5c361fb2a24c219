"""What the story prints: while something of ours stands for MinIO, every line says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape

from backmarket.standalone.demo.screen import Screen

STAND_IN = "[no MinIO: SeaweedFS, and a stand-in of ours for MinIO's administration]"


class Report(Screen):
    """The terminal, or any other output.

    Args:
        mark: ends every line; empty: everything is what it is called.
    """

    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = f"  {mark}" if mark else ""

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(escape(f"{text}{self._mark}"), soft_wrap=True)

    def failed(self, text: str) -> None:
        """The last line, on standard error."""
        super().failed(f"{text}{self._mark}")

    @contextmanager
    def step(self, text: str, *, spinner: bool = True) -> Iterator[None]:
        """Print a line with the duration once the block has succeeded."""
        with super().step(f"{text}{self._mark}", spinner=spinner):
            yield
