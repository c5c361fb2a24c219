"""Decides the outcome of a part, from its task's report and its listings. Pure.

A part that may have arrived is never resent blindly: a line that differed before and now matches the file proves that
the part arrived. If every line matches the file, it does not matter whether it arrived. If no line newly matches and
nothing else changed the listings, it did not arrive, and is sent once more. If that happens again, or something else
changed the listings meanwhile, a person decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from backmarket.bulk.csv_file.comparison import Reading
from backmarket.bulk.models import LineOutcome, Outcome, Part, PartState, Transition
from backmarket.errors import BackMarketError, UnknownOutcome
from backmarket.observability.numbers import counted

SENDS = 2
"""Maximum number of times that a part is sent if its answers are lost."""

LOOKS = 2
"""Maximum number of readings of a part that arrived, but whose task is unknown: the task may still be running."""

_CHANGED = "Something else changed the listing meanwhile. Compare it with the file."
_UNDECIDABLE = "The listing is not as the line says, and its previous values are unknown. Compare it with the file."
_UNSEEN = "The listing shows nothing that the line sets. Look at it in Back Market's back office."
_NOT_APPLIED = "Back Market did not apply the line, for an unknown reason."
_UNREADABLE = "The listing could not be read back. Compare it with the file."
PERSON = "Look at its listings at Back Market, then settle it (`settle_bulk_part`, `backmarket bulk settle`)."


class Verdict(StrEnum):
    """Whether a part arrived."""

    ARRIVED = "arrived"
    NOT_ARRIVED = "not_arrived"
    EITHER = "either"
    """It does not matter whether it did."""
    UNDECIDED = "undecided"


def verdict(readings: Mapping[int, Reading]) -> Verdict:
    """Whether a part with a lost answer arrived."""
    found = set(readings.values())
    if found & {Reading.PROOF, Reading.PROOF_CHANGED}:
        return Verdict.ARRIVED
    if found == {Reading.AGREES}:
        return Verdict.EITHER
    return Verdict.NOT_ARRIVED if found <= {Reading.AGREES, Reading.UNAPPLIED} else Verdict.UNDECIDED


def unproven(part: Part, readings: Mapping[int, Reading], *, look_again: float) -> Transition | None:
    """The next state of a part whose answer was lost, once all of its lines were read back.

    Args:
        readings: of all of its lines.
        look_again: seconds until unapplied lines of a part that arrived are read back once more.

    Returns:
        None: the part certainly did not arrive, and may be sent once more.
    """
    match Verdict.ARRIVED if part.arrived else verdict(readings):
        case Verdict.ARRIVED:
            waiting = [line for line, reading in readings.items() if reading is Reading.UNAPPLIED]
            if waiting and part.looks + 1 < LOOKS:
                outcomes = _outcomes(readings, Outcome.UNKNOWN, "")
                return Transition(
                    state=PartState.UNKNOWN, pause=look_again, outcomes=outcomes, arrived=True, unread=waiting,
                    looked=True, error=_error(part),
                )  # fmt: skip
            return arrived(part, readings, state=PartState.DONE, reason=_NOT_APPLIED)
        case Verdict.EITHER:
            return Transition(state=PartState.DONE)
        case Verdict.NOT_ARRIVED if part.sent < SENDS:
            return None
        case Verdict.NOT_ARRIVED:
            times = counted(part.sent, "time")
            why = f"It was sent {times} without an answer, and its listings are as they were before."
        case _:
            why = "It was sent without an answer, and its listings do not show whether it arrived."
    outcomes = {line: LineOutcome(line, Outcome.UNKNOWN, _WORDS.get(each, why)) for line, each in readings.items()}
    return Transition(state=PartState.UNKNOWN, outcomes=outcomes, error=UnknownOutcome(f"{why} {PERSON}"))


def arrived(
    part: Part,
    readings: Mapping[int, Reading],
    *,
    state: PartState,
    reason: str,
    error: BackMarketError | None = None,
    believed: bool = False,
) -> Transition:
    """The next state of a part that arrived, once the lines missing from its report were read back.

    Args:
        part: the part; the outcomes of its other lines are in `outcomes`.
        readings: of those lines.
        state: the part's final state.
        reason: why an unchanged line failed.
        error: why the part failed.
        believed: the task reports success: lines count as done unless a reading contradicts that.
    """
    known = {int(line): LineOutcome(int(line), Outcome(each[0]), each[1]) for line, each in part.outcomes.items()}
    outcomes = known | _outcomes(readings, Outcome.FAILED, reason)
    if believed:
        unseen = (line for line, reading in readings.items() if reading is Reading.UNSEEN)
        outcomes |= {line: LineOutcome(line, Outcome.DONE) for line in unseen}
    return Transition(state=state, outcomes=outcomes, arrived=True, error=error, looked=True)


def _outcomes(readings: Mapping[int, Reading], unapplied: Outcome, reason: str) -> dict[int, LineOutcome]:
    outcomes = {}
    for line, reading in readings.items():
        match reading:
            case Reading.PROOF | Reading.AGREES:
                outcomes[line] = LineOutcome(line, Outcome.DONE)
            case Reading.UNAPPLIED:
                outcomes[line] = LineOutcome(line, unapplied, reason)
            case _:
                outcomes[line] = LineOutcome(line, Outcome.UNKNOWN, _WORDS[reading])
    return outcomes


def _error(part: Part) -> BackMarketError:
    return UnknownOutcome(part.error or "The answer was lost.")


_WORDS = {
    Reading.CHANGED: _CHANGED,
    Reading.PROOF_CHANGED: _CHANGED,
    Reading.UNDECIDABLE: _UNDECIDABLE,
    Reading.UNREADABLE: _UNREADABLE,
    Reading.UNSEEN: _UNSEEN,
}
