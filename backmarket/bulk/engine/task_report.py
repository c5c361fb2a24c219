"""What Back Market says of each line of a file that it worked off. Pure.

The document does not say what it looks like: `result` differs by action. So every shape that can be meant is read: an
object by SKU, a list of rows, a text with a row of JSON in each line, one of them inside another. Of what can't be
read nothing is believed: its lines are silent, and are read back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from backmarket.bulk.csv_file.skus import sku_key

NO_REASON = "Back Market gave no reason."

LONGEST = 500
"""Characters of a reason that are kept."""

DEEPEST = 4
"""Levels of objects and lists that are looked into."""

_SKU = ("sku", "SKU", "seller_sku", "sellerSku", "listing", "listing_sku")
_REASONS = ("errors", "error", "error_message", "errorMessage", "message", "detail", "reason")
_STATUS = ("status", "state", "result", "outcome", "success")
_GOOD = frozenset({"ok", "success", "succeeded", "done", "created", "updated", "processed", "valid", "true"})
_BAD = frozenset({"error", "errors", "ko", "failed", "failure", "invalid", "refused", "rejected", "ignored", "false"})

Verdicts = dict[str, list[str]]
"""By the SKU's key: why the line failed; an empty list: it is well. Who is not in it, is silent."""


def read(result: Any, skus: Iterable[str]) -> Verdicts:
    """What a task's `result` says of some SKUs.

    Args:
        result: as it came.
        skus: of the lines that were sent; what is said of others is passed over.

    Returns:
        See `Verdicts`; a SKU of which both is said has failed.
    """
    wanted = {sku_key(sku) for sku in skus}
    verdicts: Verdicts = {}
    for sku, entry in _entries(result, wanted, 0):
        reasons = _reasons(entry)
        if reasons is not None:
            known = verdicts.setdefault(sku, [])
            known.extend(reason for reason in reasons if reason not in known)
    return verdicts


def _entries(value: Any, wanted: set[str], depth: int) -> Iterator[tuple[str, Any]]:
    """What is said of each SKU that is wanted, wherever it stands."""
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
                yield named, value
                return
            known = {name: sku_key(str(name)) for name in value}
            yield from ((known[name], each) for name, each in value.items() if known[name] in wanted)
            inner = [each for name, each in value.items() if known[name] not in wanted]
        case _:
            return
    for each in inner:
        yield from _entries(each, wanted, depth + 1)


def _named(row: Mapping[Any, Any], wanted: set[str]) -> str | None:
    """The SKU that a row says it is about."""
    for name in _SKU:
        value = row.get(name)
        if isinstance(value, str | int) and sku_key(str(value)) in wanted:
            return sku_key(str(value))
    return None


def _parsed(text: str) -> Iterator[Any]:
    """A text as JSON: as one value, or one in each line; what is none is passed over."""
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


def _reasons(entry: Any) -> list[str] | None:
    """Why a line failed; empty: it is well; None: nothing that can be understood is said."""
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
    match _good(word):
        case True:
            return []
        case False:
            return [NO_REASON]
    return [_clean(word)] if word.strip() else None


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
    """On one line, without what can't be printed; where nothing is left, what is said of no reason."""
    line = " ".join(text.split())
    return "".join(each for each in line if each.isprintable()).strip()[:LONGEST] or NO_REASON
