"""Watching a bulk job: a bar on a terminal's standard error, and what the job waits for."""

from __future__ import annotations

import shlex
from datetime import timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

import typer

from backmarket.cli.failures import INTERRUPTED
from backmarket.cli.output import note, printable
from backmarket.errors import WaitTimeout
from backmarket.observability.durations import duration

if TYPE_CHECKING:
    from backmarket.bulk.handle import BulkHandle
    from backmarket.bulk.rows import Job
    from backmarket.facade import BackMarket

_PAUSE: Final = 1.0
"""Seconds between two polls."""


def watch(bm: BackMarket, handle: BulkHandle, timeout: float | None) -> Job:
    """Follow a job until it has ended. Ctrl-C ends the watching, never the job.

    Args:
        bm: the object to poll with.
        handle: the job's handle.
        timeout: seconds; None: no limit.

    Raises:
        WaitTimeout: if the job has not ended in time.
    """
    try:
        return _follow(bm, handle, timeout)
    except KeyboardInterrupt:
        words = shlex.quote(handle.organization_id)
        note(f"Workers continue the job. Check it with `backmarket bulk show {printable(words)} {handle.id}`.")
        raise typer.Exit(INTERRUPTED) from None


def _follow(bm: BackMarket, handle: BulkHandle, timeout: float | None) -> Job:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    until = None if timeout is None else monotonic() + timeout
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        while (job := handle.status()).ended_at is None:
            if until is not None and monotonic() >= until:
                raise WaitTimeout(f"Bulk job {job.id} has not ended; workers continue it. {handle.waits_for()}")
            if console.is_terminal:
                left = bm.get_bulk_handle(job.organization_id, job.id).expected_duration
                words = f"{how_far(job, left)} {handle.waits_for()}"
                progress.update(bar, total=to_send(job) or None, completed=decided_lines(job), description=words)
            sleep(_PAUSE if until is None else max(0.0, min(_PAUSE, until - monotonic())))
        return job


def to_send(job: Job) -> int:
    """Number of accepted lines, which are in parts."""
    return job.lines_pending + job.lines_submitted + decided_lines(job)


def decided_lines(job: Job) -> int:
    """Number of lines whose outcome is known, or must be settled by a person."""
    return job.lines_done + job.lines_failed + job.lines_unknown + job.lines_not_sent


def how_far(job: Job, left: timedelta) -> str:
    """The number of lines in each state, and the least time that the job still takes."""
    counts = {
        "accepted": to_send(job),
        "submitted": job.lines_submitted,
        "done": job.lines_done,
        "failed": job.lines_failed,
        "unknown": job.lines_unknown,
    }
    words = [f"{count} {what}" for what, count in counts.items() if count or what in {"accepted", "done"}]
    time = f", {duration(left.total_seconds())} left at least" if left else ""
    return f"{', '.join(words)}{time}."
