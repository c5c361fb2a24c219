"""Reads what a bulk task's `result` reports for each line. Pure.

Recorded use shows `{"product_success": {KEY: {...}}, "product_errors": {KEY: error}}`; what KEY is (SKU, row number,
listing id or UUID) and the form of an error are unknown, and the API's document shows no shape at all. So every shape
is read: an object by KEY, a list of rows, a text with a JSON row in each line, one inside another. What cannot be
understood is not trusted: its lines count as not reported, and are verified by reading their listings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from backmarket.client.skus import sku_key

NO_REASON = "Back Market gave no reason."

MAX_REASON_CHARS = 500
"""Maximum stored length of a reason, in characters."""

DEEPEST = 4
"""Maximum depth of nested objects and lists that is searched."""

_NAMES = ("sku", "SKU", "seller_sku", "sellerSku", "listing", "listing_sku", "listing_id", "id")
_REASONS = ("errors", "error", "error_message", "errorMessage", "message", "detail", "reason")
_STATUS = ("status", "state", "result", "outcome", "success")
_GOOD = frozenset({"ok", "success", "succeeded", "done", "created", "updated", "processed", "valid", "true"})
_BAD = frozenset({"error", "errors", "ko", "failed", "failure", "invalid", "refused", "rejected", "ignored", "false"})

_SUCCESSES = frozenset({"product_success", "product_successes", "success", "successes"})
_FAILURES = frozenset({"product_errors", "product_error", "errors"})
_FIRST_ROWS = (0, 1, 2)
"""Possible numbers of the first row: rows count from 0, from 1, or from 1 including the header."""

Verdicts = dict[str, list[str]]
"""By the SKU's key: the reasons why the line failed; an empty list: it succeeded. A missing SKU was not reported."""


def read(result: Any, skus: Sequence[str], listing_ids: Mapping[str, str] | None = None) -> Verdicts:
    """Read what a task's `result` reports for some SKUs.

    Args:
        result: the task's `result`, as received.
        skus: of the sent lines, in their order; reports for others are ignored.
        listing_ids: the SKU of each known listing id and UUID, for reports that name these.

    Returns:
        See `Verdicts`; a SKU that is reported both ways counts as failed.
    """
    keys = {name.lower(): sku_key(sku) for name, sku in (listing_ids or {}).items()}
    keys |= {sku_key(sku): sku_key(sku) for sku in skus}
    verdicts: Verdicts = {}
    for sku, entry, good in _entries(result, keys, 0, None) if keys else ():
        reasons = _reasons(entry, good)
        if reasons is not None:
            known = verdicts.setdefault(sku, [])
            known.extend(reason for reason in reasons if reason not in known)
    return verdicts or _by_row(result, skus)


def _by_row(result: Any, skus: Sequence[str]) -> Verdicts:
    """Read a report whose keys are row numbers; only if they name every row, which shows how they are counted."""
    if not isinstance(result, dict):
        return {}
    told = {name: result[name] for name in result if name in _SUCCESSES | _FAILURES and isinstance(result[name], dict)}
    numbers = sorted(int(key) for entries in told.values() for key in entries if str(key).isdecimal())
    first = numbers[0] if numbers else -1
    if first not in _FIRST_ROWS or numbers != list(range(first, first + len(skus))):
        return {}
    return {
        sku_key(skus[int(key) - first]): _reasons(entry, name in _SUCCESSES) or []
        for name, entries in told.items()
        for key, entry in entries.items()
    }


def _entries(
    value: Any, wanted: Mapping[str, str], depth: int, good: bool | None
) -> Iterator[tuple[str, Any, bool | None]]:
    """The report for each wanted SKU, at any depth, and whether it is among the successes."""
    if depth > DEEPEST:
        return
    match value:
        case str():
            inner: Iterable[Any] = _parsed(value)
        case list():
            inner = value
        case dict():
            named = _named(value, wanted)
            if named is not None:
                yield named, value, good
                return
            for name, each in value.items():
                sku = wanted.get(sku_key(str(name)))
                if sku is not None:
                    yield sku, each, good
                else:
                    among = True if name in _SUCCESSES else False if name in _FAILURES else good
                    yield from _entries(each, wanted, depth + 1, among)
            return
        case _:
            return
    for each in inner:
        yield from _entries(each, wanted, depth + 1, good)


def _named(row: Mapping[Any, Any], wanted: Mapping[str, str]) -> str | None:
    """The SKU that a row names, directly or by its listing's id."""
    for name in _NAMES:
        value = row.get(name)
        if isinstance(value, str | int) and sku_key(str(value)) in wanted:
            return wanted[sku_key(str(value))]
    return None


def _parsed(text: str) -> Iterator[Any]:
    """Parse a text as JSON: one value, or one per line; lines that are not JSON are skipped."""
    try:
        yield _structure(text)
        return
    except (ValueError, RecursionError):
        pass
    for line in text.splitlines():
        try:
            yield _structure(line)
        except (ValueError, RecursionError):
            continue


def _structure(text: str) -> Any:
    value = json.loads(text)
    if not isinstance(value, list | dict):
        raise ValueError("neither an object nor a list")
    return value


def _reasons(entry: Any, good: bool | None) -> list[str] | None:
    """Why a line failed; empty: it succeeded; None: not reported.

    Args:
        entry: the line's report.
        good: whether it is among the successes (True) or the errors (False); None: neither.
    """
    if good is not None:
        return [] if good else list(_texts(entry)) or [NO_REASON]
    match entry:
        case bool():
            return [] if entry else [NO_REASON]
        case str():
            return _of_word(entry)
        case list():
            return list(_texts(entry))
        case dict():
            return _of_object(entry)
    return None


def _of_object(entry: Mapping[Any, Any]) -> list[str] | None:
    errors = [text for name in ("errors", "error") for text in _texts(entry.get(name))]
    status = next((good for name in _STATUS if (good := _good(entry.get(name))) is not None), None)
    if errors or status is False:
        return errors or [text for name in _REASONS for text in _texts(entry.get(name))] or [NO_REASON]
    return [] if status or entry.get("errors") in ([], {}) else None


def _of_word(word: str) -> list[str] | None:
    """A known word; any other text counts as not reported: `Listing updated` is no failure."""
    match _good(word):
        case True:
            return []
        case False:
            return [NO_REASON]
    return None


def _good(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _GOOD else False if word in _BAD else None


def _texts(value: Any) -> Iterator[str]:
    """The texts in an error, however it is wrapped."""
    if isinstance(value, str):
        if value.strip():
            yield _clean(value)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, Mapping):
        said = [text for name in _REASONS for text in _texts(value.get(name))]
        yield from said or [f"{_clean(str(name))}: {text}" for name, inner in value.items() for text in _texts(inner)]


def _clean(text: str) -> str:
    """The text on one line, without unprintable characters; if nothing is left, `NO_REASON`."""
    line = " ".join(text.split())
    return "".join(each for each in line if each.isprintable()).strip()[:MAX_REASON_CHARS] or NO_REASON
