"""A standby is promoted in the middle of walks, writes and bulk jobs of thirty organizations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chaos.schedule import Aim
from tests.servers.postgres.replicated import Told, fence, kill, play_failover
from tests.servers.postgres.servers import Pair, PgBouncer, debian, of_the_wheel

SOON_SECONDS = 30.0
"""Until work goes on, from the moment at which the new primary is there."""

VERSION = os.environ.get("TEST_POSTGRES_VERSION", "15")


UNPROVEN = "The listing shows other values, and its previous ones are unknown."
"""Why a person decides about the price of a listing that was queued before the failover: nothing says that no mark of
its sending was lost with the old primary, and another write of the same listing was open, or had just ended."""


@contextmanager
def pair(*, synchronous: bool, primary_host: str = "127.0.0.1") -> Iterator[Pair]:
    """A primary and its standby."""
    programs = of_the_wheel() if VERSION == "18" else debian(int(VERSION))
    with TemporaryDirectory(prefix="backmarket-postgres.", dir=programs.root / "var/tmp") as directory:
        Path(directory).chmod(0o711)
        found = Pair(Path(directory), programs, synchronous=synchronous, primary_host=primary_host)
        try:
            found.start()
            yield found
        finally:
            found.stop()


@contextmanager
def led_by(servers: Pair, *, pooled: bool) -> Iterator[PgBouncer | None]:
    """PgBouncer before the primary, or nothing."""
    if not pooled:
        with nullcontext():
            yield None
        return
    bouncer = PgBouncer(servers.primary.directory.parent, servers.primary)
    try:
        bouncer.start()
        yield bouncer
    finally:
        bouncer.stop()


@pytest.mark.parametrize(
    ("vanish", "pooled", "aim"),
    [(kill, False, "writes"), (kill, True, "bulk"), (kill, True, "sync"), (fence, False, "sync")],
)
def test_to_a_synchronous_standby_nothing_is_lost(
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    vanish: Callable[[Pair], None],
    pooled: bool,
    aim: Aim,
) -> None:
    with pair(synchronous=True) as servers, led_by(servers, pooled=pooled) as bouncer:
        told = play_failover(servers, tmp_path / "fleet", bouncer=bouncer, vanish=vanish, aim=aim)
    record_property("told", told)
    assert_nothing_is_wrong(told)


@pytest.mark.parametrize(("pooled", "aim"), [(False, "writes"), (True, "bulk")])
def test_to_an_asynchronous_standby_nothing_is_believed_that_is_not_there(
    tmp_path: Path, record_property: Callable[[str, object], None], pooled: bool, aim: Aim
) -> None:
    """What was asked for since it fell behind is gone with its rows; no other write or line takes place twice."""
    with pair(synchronous=False) as servers, led_by(servers, pooled=pooled) as bouncer:
        told = play_failover(servers, tmp_path / "fleet", bouncer=bouncer, behind=2.0, aim=aim)
    record_property("told", told)
    assert told.lost, "the standby was behind"
    assert [each for each in told.wrong if not each.startswith(("writes wrong", "files wrong", "labels fetched"))] == []
    assert told.twice == []
    assert_seen(told)


def assert_nothing_is_wrong(told: Told) -> None:
    """Nothing is lost, nothing took place twice, and a person decides about those writes alone that prove nothing."""
    for kind, sent, reason in told.undecided:
        assert (kind, sent) == ("update_listing", 1), reason
        assert reason.startswith(UNPROVEN)
    left = f"writes wrong: {len(told.undecided)} writes are unknown (unknown_outcome) after 1 requests"
    assert [each for each in told.wrong if each != left] == []
    assert told.twice == []
    assert told.lost == {}
    assert_seen(told)


def assert_seen(told: Told) -> None:
    """Readers of the change feed are told, and work goes on soon."""
    assert told.missed
    assert 0 <= told.goes_on_after <= SOON_SECONDS
