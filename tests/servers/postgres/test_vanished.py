"""The primary's host vanishes without a word in the middle of everything, and the standby is promoted.

In a network of the tests' own (`tests.servers.network`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.network import come_back, vanish
from tests.servers.postgres.replicated import play_failover
from tests.servers.postgres.servers import Pair
from tests.servers.postgres.test_failover import assert_nothing_is_wrong, led_by, pair

HOST = "127.0.0.2"


def host_vanishes(servers: Pair) -> None:
    """Nothing comes from the primary any more, and nothing says so."""
    vanish(servers.primary.host)


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pgbouncer"])
def test_work_goes_on_soon_after_the_new_primary_is_there(
    tmp_path: Path, record_property: Callable[[str, object], None], pooled: bool
) -> None:
    come_back()
    with pair(synchronous=True, primary_host=HOST) as servers, led_by(servers, pooled=pooled) as bouncer:
        told = play_failover(servers, tmp_path / "fleet", bouncer=bouncer, vanish=host_vanishes, aim="sync")
    record_property("seconds until work went on", told.goes_on_after)
    record_property("told", told)
    assert_nothing_is_wrong(told)
