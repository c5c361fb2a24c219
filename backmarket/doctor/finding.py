"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "fault", "skipped"]
"""A warning can wait for the morning; a fault keeps something from working; skipped: what it needs is a fault."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: which, such as `broker memory policy`.
        verdict: how it fares.
        found: what is so, in a sentence without a secret.
        advice: what to do; None: nothing.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str | None = None


def ok(check: str, found: str) -> Finding:
    """Nothing is to be done."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, advice: str) -> Finding:
    """It works, and something should be done."""
    return Finding(check, "warning", found, advice)


def fault(check: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, "fault", found, advice)


def skipped(check: str, why: str) -> Finding:
    """It could not be looked at."""
    return Finding(check, "skipped", why)
