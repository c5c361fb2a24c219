"""Progress bars of awaited syncs; on standard error, and only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from backmarket.cli.status import rows_so_far
from backmarket.errors import BackMarketError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from backmarket.status.sync_status import SyncStatus
    from backmarket.sync.handle import SyncHandle

_PAUSE: Final = 0.5
"""Seconds between two polls."""


@contextmanager
def following(handles: list[SyncHandle]) -> Iterator[None]:
    """Show the progress of the syncs during the `with` block.

    Args:
        handles: the syncs to show.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    ended = Event()
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {progress.add_task(handle.resource, total=None): handle for handle in handles}
        watcher = Thread(target=_watch, args=(progress, bars, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _watch(progress: Progress, bars: dict[TaskID, SyncHandle], ended: Event) -> None:
    while not ended.is_set():
        for bar, handle in bars.items():
            with suppress(BackMarketError):  # the caller that waits for the handle reports it
                status = handle.status()
                progress.update(
                    bar,
                    description=f"{handle.resource}: {how_far(status)}",
                    total=status.rows_expected,
                    completed=status.rows_done or 0,
                )
        ended.wait(_PAUSE)


def how_far(status: SyncStatus) -> str:
    """Rows stored, of the expected number if it is known."""
    return rows_so_far(status) or ("waiting for a worker" if status.running_since is None else "running")
