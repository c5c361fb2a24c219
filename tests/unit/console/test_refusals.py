"""Refused logins and acts leave few rows, however many there are, and none is uncounted."""

from __future__ import annotations

from typing import Any

import pytest

from backmarket.audit import Act
from backmarket.console.access.refusals import MAX_ROWS, PAUSE_SECONDS, Refusals
from backmarket.errors import DatabaseUnavailable

LOGIN = Act("console.login", details={"form": "login"})


class Trail:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.now = 1000.0

    def record_console_refusal(self, act: Act, code: str) -> None:
        self.rows.append({**act.details, "code": code})


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def refusals(trail: Trail) -> Refusals:
    return Refusals(trail, clock=lambda: trail.now)  # type: ignore[arg-type]


def test_the_first_of_a_key_is_a_row_and_those_within_a_minute_are_counted_in_the_next(
    trail: Trail, refusals: Refusals
) -> None:
    for _ in range(500):
        refusals.record("one", LOGIN, "wrong_password")
    refusals.record("other", LOGIN, "role")
    assert trail.rows == [{"form": "login", "code": "wrong_password"}, {"form": "login", "code": "role"}]
    trail.now += PAUSE_SECONDS
    refusals.record("one", LOGIN, "wrong_password")
    assert trail.rows[2] == {"form": "login", "code": "wrong_password", "unrecorded": 499}


def test_many_keys_share_a_bound(trail: Trail, refusals: Refusals) -> None:
    for number in range(10_000):
        refusals.record(number, LOGIN, "wrong_password")
    assert len(trail.rows) == MAX_ROWS
    trail.now += PAUSE_SECONDS
    refusals.record("another", LOGIN, "wrong_password")
    assert trail.rows[-1] == {
        "form": "login", "code": "wrong_password", "unrecorded_of_others": 10_000 - MAX_ROWS,
    }  # fmt: skip


def test_an_outage_of_postgresql_refuses_as_before(monkeypatch: pytest.MonkeyPatch, trail: Trail) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnavailable("It is away.")

    monkeypatch.setattr(trail, "record_console_refusal", away)
    Refusals(trail).record("one", LOGIN, "wrong_password")  # type: ignore[arg-type]
