"""Faults that arrive as an answer: a wrong answer instead of the right one, or a spoiled right one."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from backmarket.sandbox.api.responses import HTML, Answer, html_page, in_json, rate_limited, refusal
from backmarket.sandbox.world.fault_rules import Fault

Payload = dict[str, Any]

_IDS: Final = ("order_id", "shipmentId", "id", "task_id")


def replacement(fault: Fault) -> Answer | None:
    """The answer that this fault gives instead of the right one; None if it is a fault of another kind."""
    make = _REPLACEMENTS.get(fault.kind)
    return make(fault) if make else None


def spoiled(fault: Fault, answer: Answer, rng: Random) -> Answer:
    """The right answer, spoiled by this fault; refusals are unchanged."""
    spoil = _SPOILERS.get(fault.kind)
    if spoil is None or answer.status != 200:
        return answer
    payload = json.loads(answer.body)
    if isinstance(payload, dict):
        spoil(payload, fault, rng)
    # json.dumps, not msgspec: only its ASCII escapes can carry a lone surrogate.
    return answer._replace(body=json.dumps(payload).encode())


def _status(fault: Fault) -> Answer:
    if fault.html:
        return html_page(fault.status, "Error", headers=((b"server", b"cloudflare"),))
    return refusal(fault.status, "The sandbox was told to fail.", code="internal-error")


def _waf_json(_fault: Fault) -> Answer:
    error = {"code": "bot-need-challenge", "message": "Forbidden", "challengePath": "/testchallengepage"}
    return in_json({"errors": [error]}, 403)._replace(headers=_FIREWALL)


_FIREWALL: Final = ((b"server", b"cloudflare"), (b"cf-ray", b"931354450813d142-CDG"))

_REPLACEMENTS: Final[dict[str, Callable[[Fault], Answer]]] = {
    "status": _status,
    "waf_html": lambda _: html_page(403, "Attention Required!", headers=_FIREWALL),
    "waf_json": _waf_json,
    "forbidden": lambda _: refusal(403, "This account has no access to this resource.", code="forbidden"),
    "unauthorized": lambda _: refusal(401, "Invalid token.", code="unauthorized"),
    "rate_limited": lambda _: rate_limited(),
    "sku_quota": lambda _: refusal(429, "Too many SKU lines in the last hour.", shape="problem"),
    "early_404": lambda _: refusal(404, "Webservices unavailable"),
    "garbage": lambda _: Answer(200, b"<html><body>Maintenance</body></html>", HTML),
    "empty": lambda _: Answer(200, b""),
    "redirect": lambda fault: Answer(302, b"", headers=((b"location", fault.location.encode()),)),
}


def _rows(payload: Payload) -> list[Payload]:
    """The rows of a list, or the single row of the answer."""
    results = payload.get("results")
    return results if isinstance(results, list) else [payload]


def _unknown_fields(payload: Payload, _fault: Fault, _rng: Random) -> None:
    payload["sandboxEnvelope"] = {"new": True}
    for row in _rows(payload):
        row["sandbox_new_field"] = ["a value", {"of": "some day"}]
        for line in row.get("orderlines") or []:
            if isinstance(line, dict):
                line["sandbox_new_field"] = 1


def _unknown_states(payload: Payload, fault: Fault, _rng: Random) -> None:
    for row in _rows(payload):
        for name in ("state", "publication_state", "action_status"):
            if name in row:
                row[name] = fault.value or 77


def _nulls(payload: Payload, _fault: Fault, rng: Random) -> None:
    for row in _rows(payload):
        for name in row:
            if name not in _IDS and rng.random() < 0.5:
                row[name] = None


def _wrong_types(payload: Payload, _fault: Fault, rng: Random) -> None:
    for row in _rows(payload):
        for name, value in row.items():
            if name not in _IDS and rng.random() < 0.5:
                row[name] = _other_type(value)


def _other_type(value: object) -> object:
    if isinstance(value, bool) or value is None:
        return "yes"
    if isinstance(value, int):
        return str(value)
    return 12.5 if isinstance(value, str) else "not a collection"


def _id_missing(payload: Payload, _fault: Fault, rng: Random) -> None:
    rows = _rows(payload)
    if rows:
        row = rng.choice(rows)
        for name in _IDS:
            row.pop(name, None)


def _in_texts(text: str) -> Callable[[Payload, Fault, Random], None]:
    """Insert a text into the first string of each row and into the first name, if it has an address."""

    def spoil(payload: Payload, _fault: Fault, _rng: Random) -> None:
        for row in _rows(payload):
            for name in ("tracking_number", "comment", "trackingNumber"):
                if name in row:
                    row[name] = f"a{text}b"
            if isinstance(row.get("shipping_address"), dict):
                row["shipping_address"]["firstName"] = f"a{text}b"

    return spoil


def _empty_page(payload: Payload, _fault: Fault, _rng: Random) -> None:
    payload["results"] = []


def _next_null(payload: Payload, _fault: Fault, _rng: Random) -> None:
    payload["next"] = None


def _wrong_count(payload: Payload, fault: Fault, _rng: Random) -> None:
    payload["count"] = max(0, payload.get("count", 0) + (-1 if fault.value is None else fault.value))


_SPOILERS: Final[dict[str, Callable[[Payload, Fault, Random], None]]] = {
    "unknown_fields": _unknown_fields,
    "unknown_states": _unknown_states,
    "nulls": _nulls,
    "wrong_types": _wrong_types,
    "id_missing": _id_missing,
    "nul_characters": _in_texts("\0"),
    "lone_surrogate": _in_texts("\ud800"),
    "early_empty_page": _empty_page,
    "next_null_early": _next_null,
    "wrong_count": _wrong_count,
}
