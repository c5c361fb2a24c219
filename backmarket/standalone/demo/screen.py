"""The demo's output: a line for each step, bars while orders arrive, a table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from backmarket.standalone.demo.checks import Row


class Screen:
    """The terminal, or any other output."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._errors = Console(highlight=False, stderr=True)
        self._began = monotonic()

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(escape(text))

    def failed(self, text: str) -> None:
        """The last line, on standard error."""
        self._errors.print(escape(text), style="bold red", soft_wrap=True)

    def crashed(self, text: str) -> None:
        """The last line, below the place of an exception."""
        self._errors.print_exception(max_frames=10)
        self.failed(text)

    @contextmanager
    def step(self, text: str, *, spinner: bool = True) -> Iterator[None]:
        """Print a line with the duration once the block has succeeded.

        Args:
            text: the line.
            spinner: show a spinner meanwhile; false where the block shows its own progress.
        """
        began = monotonic()
        with self._console.status(escape(text)) if spinner else nullcontext():
            yield
        self._console.print(f"[green]✓[/] {escape(text)} [dim]({monotonic() - began:.1f} s)[/]", soft_wrap=True)

    @contextmanager
    def progress(self, totals: Mapping[str, int]) -> Iterator[Callable[[Mapping[str, int]], None]]:
        """A bar for each name; the block gets the function that sets them."""
        columns = (TextColumn("  {task.description:<16}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as bars:
            tasks = {name: bars.add_task(name, total=total) for name, total in totals.items()}

            def show(done: Mapping[str, int]) -> None:
                for name, count in done.items():
                    bars.update(tasks[name], completed=count)

            yield show

    def table(self, rows: Sequence[Row]) -> None:
        """What each seller's first sync stored and took."""
        table = Table(
            title="The first sync of each seller", title_justify="left", box=None, padding=(0, 1, 0, 0)
        )  # 80 columns are enough
        table.add_column("seller")
        for name in ("orders", "lines", "listings", "shipments", "asked", "faulty", "s"):
            table.add_column(name, justify="right")
        table.add_column("health")
        for row in rows:
            seconds = "-" if row.seconds is None else f"{row.seconds:.1f}"
            *first, deliveries, returns = row.stored
            counts = (f"{count:,}" for count in (*first, deliveries + returns, row.requests, row.faults))
            table.add_row(row.seller, *counts, seconds, row.health)
        self._console.print()
        self._console.print(table)
        self._console.print(f"\nThe whole job was right, in {monotonic() - self._began:.0f} s.")
