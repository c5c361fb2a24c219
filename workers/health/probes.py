"""Checks, in bounded time, of the services a process needs: the broker, PostgreSQL and the bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from time import monotonic

from backmarket.database import Database, schema
from backmarket.errors import BackMarketError
from backmarket.services import Services
from backmarket.status.broker import Broker

ANSWER_SECONDS = 3.0
"""Maximum seconds that a caller waits for all answers."""

DATABASE_SECONDS = 1.5
"""Maximum seconds for a connection to PostgreSQL; the rest of the time is for finding the reason of a failure."""

FRESH_SECONDS = 1.0
"""Seconds for which an answer is reused: more frequent calls cause no more load."""

Probe = Callable[[], object]
"""Checks one service; raises one of our errors if it cannot be used."""


class Probes:
    """Checks all services at once; concurrent callers share one check of each.

    Args:
        probes: the check of each service, by its name.
    """

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = dict(probes)
        self._asked: dict[str, tuple[float, Future[str | None]]] = {}
        self._lock = threading.Lock()

    def faults(self) -> dict[str, str | None]:
        """For each service, why it cannot be used; None: it can.

        Takes no longer than `ANSWER_SECONDS`.
        """
        with self._lock:
            answers = {name: self._ask(name, probe) for name, probe in self._probes.items()}
        wait(answers.values(), timeout=ANSWER_SECONDS)
        silent = f"No answer within {ANSWER_SECONDS:g} s."
        return {name: answer.result() if answer.done() else silent for name, answer in answers.items()}

    def _ask(self, name: str, probe: Probe) -> Future[str | None]:
        asked_at, answer = self._asked.get(name, (0.0, None))
        if answer is None or (answer.done() and monotonic() - asked_at > FRESH_SECONDS):
            asked_at, answer = monotonic(), Future()
            # no thread pool: its threads would delay the process's end until the last answer
            threading.Thread(target=_answer, args=(probe, answer), name=f"probe-{name}", daemon=True).start()
        self._asked[name] = asked_at, answer
        return answer


def of_beat(services: Services) -> Probes:
    """The checks of beat: only the broker."""
    return Probes({"broker": Broker(services.settings.broker).ping})


def of_exporter(services: Services) -> Probes:
    """The checks of the metrics exporter: the services it reads."""
    return Probes({"broker": Broker(services.settings.broker).ping, "database": _database(services)})


def of_worker(services: Services) -> Probes:
    """The checks of a worker: all services that the settings name."""
    settings = services.settings
    found: dict[str, Probe] = {"broker": Broker(settings.broker).ping, "database": _database(services)}
    if settings.broker_url:
        found["limiter"] = lambda: services.limiter.peek("")
    if settings.has_bucket:
        found["bucket"] = lambda: services.bucket.exists()  # noqa: PLW0108 - opened by the first question
    return Probes(found)


def _database(services: Services) -> Probe:
    """Check PostgreSQL outside of the process's pool, in which a busy worker has no spare connection."""
    url = services.settings.need("database_url")
    database = Database(url, size=1, timeout=DATABASE_SECONDS, statement_timeout=ANSWER_SECONDS)
    return partial(schema.check, database)


def _answer(probe: Probe, answer: Future[str | None]) -> None:
    try:
        probe()
    except BackMarketError as error:
        answer.set_result(error.message)
    except Exception as error:  # noqa: BLE001 - its text may contain anything, and the caller needs an answer
        answer.set_result(f"Internal error, {type(error).__name__}.")
    else:
        answer.set_result(None)
