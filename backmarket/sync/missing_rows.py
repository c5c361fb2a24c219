"""Requests the rows that a complete full walk did not show, one by one."""

from __future__ import annotations

from math import inf
from time import monotonic, sleep
from typing import Any

from backmarket.errors import (
    BackMarketError,
    BrokenAnswer,
    FirewallBlocked,
    NetworkError,
    NotAvailable,
    NotFound,
    RateLimited,
    RequestRefused,
    ServerError,
)
from backmarket.observability.logs import Logger
from backmarket.resources import Resource
from backmarket.sync.page_fetcher import Fetcher
from backmarket.sync.refusals import MAX_FAILED_SLICES, lasting
from backmarket.sync.slice_budget import SliceBudget
from backmarket.sync.storing import Storing

MAX_UNANSWERED_ROWS = 10
"""Rows of one slice whose requests may fail; they stay as they are until the next full walk. With more, the API fails
and not a row, so the run does."""

log = Logger(__name__)


class MissingRows:
    """The look for missing rows of one slice. A row whose request fails for ever holds up neither others nor the walk.

    Args:
        fetcher: of the slice.
        storing: of the slice.
    """

    def __init__(self, resource: Resource, fetcher: Fetcher, storing: Storing) -> None:
        self._resource = resource
        self._fetcher = fetcher
        self._storing = storing
        self._not_found: set[Any] = set()
        """Keys of rows whose id has answered 404 once."""
        self._unanswered: set[Any] = set()
        """Keys of rows whose requests failed."""

    def look(self, budget: SliceBudget) -> float | None:
        """Request and store the rows until none is left, in any order, and end the walk.

        Args:
            budget: of the slice.

        Returns:
            Seconds until another slice continues; None: the walk has ended.

        Raises:
            BackMarketError: if no row can be requested now.
        """
        with budget.paused():
            missing = self._storing.end()
        middle = budget.middle()
        while missing.keys:
            self._not_found |= missing.marked
            for key in missing.keys:
                pause = budget.must_end()
                if pause is not None:
                    self._leave_unanswered()
                    return pause
                sleep(self._fetcher.pause())
                self._look_for(key)
                if self._not_found and monotonic() > middle:
                    break  # the other half of the slice is for the second requests of these
            middle = inf
            with budget.paused():
                missing = self._storing.end(besides=self._unanswered)
        return None

    def _look_for(self, key: Any) -> None:
        """Request one row by its id, and store the answer.

        Where a list leaves rows out by its rules, a 404 is the only sign that such a row is gone. So only a
        second 404 counts, after the other missing rows were requested.
        """
        try:
            row = self._fetcher.one(str(key))
        except NotFound:
            row = None
        except RateLimited as error:
            self._fetcher.wait_at_least(error.retry_after)
            if error is self._fetcher.failed:
                self._limited(key, error)
            return
        except (NetworkError, ServerError, BrokenAnswer, FirewallBlocked, NotAvailable, RequestRefused) as error:
            self._leave(key, error)
            return
        if row is None and self._resource.hides and key not in self._not_found:
            self._not_found.add(key)
        else:
            self._storing.settle_missing(key, row)

    def _limited(self, key: Any, error: RateLimited) -> None:
        """A 429 for a row ends the slice, so a row that always gets one must be left for the whole walk."""
        failures = self._storing.lease.failures
        if lasting(error, self._storing.lease) and failures < MAX_FAILED_SLICES + MAX_UNANSWERED_ROWS:
            self._storing.leave(key)
            log.warning("sync.row_unanswered", key=str(key), code=error.code, request_id=error.request_id)

    def _leave_unanswered(self) -> None:
        """Let the next slices of this walk request none of the rows whose requests have failed in this one."""
        for key in self._unanswered:
            self._storing.leave(key)

    def _leave(self, key: Any, error: BackMarketError) -> None:
        self._unanswered.add(key)
        if len(self._unanswered) > MAX_UNANSWERED_ROWS:
            raise error
        log.warning("sync.row_unanswered", key=str(key), code=error.code, request_id=error.request_id)
