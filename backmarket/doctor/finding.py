"""The findings of an examination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "fault", "skipped"]
"""A warning can wait for the morning; a fault keeps something from working; skipped: a check it needs has failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name, such as `broker memory policy`.
        verdict: the result.
        found: a sentence on what was found, without secrets.
        advice: what to do; None: nothing needs to be done.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str | None = None


def ok(check: str, found: str) -> Finding:
    """Nothing needs to be done."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, advice: str) -> Finding:
    """It works, and something should be done."""
    return Finding(check, "warning", found, advice)


def fault(check: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, "fault", found, advice)


def skipped(check: str, why: str) -> Finding:
    """It could not be checked."""
    return Finding(check, "skipped", why)
