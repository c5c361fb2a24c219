"""What follows from listings that were read back."""

from __future__ import annotations

from typing import Any

import pytest

from backmarket.bulk.csv_file.comparison import Members, Reading, compare, seen, wanted
from backmarket.bulk.engine.verdicts import Verdict, arrived, unproven, verdict
from backmarket.bulk.models import LineOutcome, Outcome, Part, PartState

R = Reading


@pytest.mark.parametrize(
    ("prior", "now", "reading"),
    [
        ({"price": "9", "quantity": 1}, {"price": "10", "quantity": 2}, R.PROOF),
        ({"price": "10", "quantity": 1}, {"price": "10", "quantity": 2}, R.PROOF),
        ({"price": "10", "quantity": 2}, {"price": "10", "quantity": 2}, R.AGREES),
        ({"price": "9", "quantity": 1}, {"price": "9", "quantity": 1}, R.UNAPPLIED),
        ({"price": "10", "quantity": 1}, {"price": "10", "quantity": 1}, R.UNAPPLIED),
        ({"price": "9", "quantity": 1}, {"price": "9", "quantity": 5}, R.CHANGED),
        ({"price": "9", "quantity": 1}, {"price": "10", "quantity": 5}, R.PROOF_CHANGED),
        (None, {"price": "10", "quantity": 2}, R.PROOF),
        (None, None, R.UNAPPLIED),
        (None, {"price": "8", "quantity": 8}, R.CHANGED),
        ({"price": "9", "quantity": 1}, None, R.CHANGED),
        ({}, {"price": "10", "quantity": 2}, R.AGREES),
        ({"quantity": 1}, {"price": "9", "quantity": 2}, R.PROOF_CHANGED),
        ({"quantity": 2}, {"price": "9", "quantity": 2}, R.UNDECIDABLE),
    ],
)
def test_a_reading(prior: Members | None, now: Members | None, reading: Reading) -> None:
    assert compare({"price": "10", "quantity": 2}, prior, now) is reading


def test_a_reading_without_knowing_what_was_there() -> None:
    asked = {"quantity": 2}
    assert compare(asked, None, {"quantity": 2}, known=False) is R.AGREES
    assert compare(asked, None, {"quantity": 3}, known=False) is R.UNDECIDABLE
    assert compare(asked, None, None, known=False) is R.UNAPPLIED
    assert compare({}, {}, {}) is R.UNSEEN


def test_members_are_compared_by_their_meaning() -> None:
    row = {
        "sku": "A",
        " Price ": "12.50",
        "quantity": "07",
        "comment": "",
        "warranty_delay": "12",
        "new_battery": "TRUE",
    }
    asked = wanted(row)
    assert asked == {"price": "12.5", "quantity": 7, "warranty_delay": 12, "new_battery": True}
    assert seen({"price": 12.5, "quantity": 7, "warranty_delay": "12", "new_battery": True}, asked) == asked
    assert seen({}, asked) == {"price": None, "quantity": None, "warranty_delay": None, "new_battery": False}


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ({R.PROOF, R.UNAPPLIED, R.CHANGED}, Verdict.ARRIVED),
        ({R.PROOF_CHANGED, R.UNDECIDABLE}, Verdict.ARRIVED),
        ({R.AGREES}, Verdict.EITHER),
        ({R.AGREES, R.UNAPPLIED}, Verdict.NOT_ARRIVED),
        ({R.UNAPPLIED}, Verdict.NOT_ARRIVED),
        ({R.UNAPPLIED, R.CHANGED}, Verdict.UNDECIDED),
        ({R.UNAPPLIED, R.UNDECIDABLE}, Verdict.UNDECIDED),
        ({R.AGREES, R.UNSEEN}, Verdict.UNDECIDED),
        ({R.PROOF, R.UNREADABLE}, Verdict.ARRIVED),
        ({R.AGREES, R.UNREADABLE}, Verdict.UNDECIDED),
        ({R.UNAPPLIED, R.UNREADABLE}, Verdict.UNDECIDED),
    ],
)
def test_whether_a_part_arrived(readings: set[Reading], expected: Verdict) -> None:
    assert verdict(dict(enumerate(readings))) is expected


def part(**values: Any) -> Part:
    usual: dict[str, Any] = {
        "organization_id": "org", "job_id": 1, "number": 1, "state": "unknown", "byte_offset": 0, "byte_length": 1,
        "lines": 3, "line_numbers": [2, 3, 4], "due_at": None, "sent": 1, "tries": 0, "arrived": False,
        "task_id": None, "task_status": None, "sent_at": None, "sent_seconds": None, "submitted_at": None,
        "submitted_seconds": None,
        "unexplained_seconds": None, "missing_seconds": None, "prior": None, "unread": None,
        "readings": None, "read_page": None, "looks": 0, "outcomes": {},
        "error_code": None, "error": None, "error_status": None,
        "error_request_id": None, "error_cf_ray": None,
    }  # fmt: skip
    return Part(**usual | values)


def test_lines_not_applied_are_looked_at_twice_before_they_count_as_failed() -> None:
    readings = {2: R.PROOF, 3: R.UNAPPLIED, 4: R.AGREES}
    first = unproven(part(), readings, look_again=900)
    assert first is not None
    assert (first.state, first.pause, first.unread, first.arrived) == (PartState.UNKNOWN, 900, [3], True)
    kept = {str(line): [each.outcome, each.message] for line, each in first.outcomes.items()}
    second = unproven(part(arrived=True, looks=1, outcomes=kept), {3: R.UNAPPLIED}, look_again=900)
    assert second is not None
    assert {line: each.outcome for line, each in second.outcomes.items()} == {
        2: Outcome.DONE, 3: Outcome.FAILED, 4: Outcome.DONE,
    }  # fmt: skip
    late = unproven(part(arrived=True, looks=1, outcomes=kept), {3: R.PROOF}, look_again=900)
    assert late is not None
    assert {each.outcome for each in late.outcomes.values()} == {Outcome.DONE}


def test_what_did_not_arrive_is_sent_once_more_and_not_again() -> None:
    readings = {2: R.UNAPPLIED, 3: R.AGREES}
    assert unproven(part(sent=1), readings, look_again=1) is None
    over = unproven(part(sent=2), readings, look_again=1)
    assert over is not None
    assert (over.state, over.pause) == (PartState.UNKNOWN, None)
    assert {each.outcome for each in over.outcomes.values()} == {Outcome.UNKNOWN}


def test_silent_lines_of_a_task_that_went_well() -> None:
    known = {"2": ["failed", "price is wrong"]}
    transition = arrived(
        part(outcomes=known), {3: R.UNSEEN, 4: R.UNAPPLIED}, state=PartState.DONE, reason="why", believed=True
    )
    assert transition.outcomes == {
        2: LineOutcome(2, Outcome.FAILED, "price is wrong"),
        3: LineOutcome(3, Outcome.DONE),
        4: LineOutcome(4, Outcome.FAILED, "why"),
    }
    doubted = arrived(part(), {3: R.UNSEEN}, state=PartState.FAILED, reason="why")
    assert doubted.outcomes[3].outcome is Outcome.UNKNOWN
