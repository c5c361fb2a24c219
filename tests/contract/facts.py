"""The facts of the contract, and what is wrong with a body by them.

`facts.json` beside this file is written by `scripts/contract-facts`; a field's path is as it is described there.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

Fact = dict[str, Any]
Fields = dict[str, Fact]

KNOWN: dict[str, Any] = json.loads(Path(__file__).with_name("facts.json").read_text())
OPERATIONS: dict[str, dict[str, Any]] = KNOWN["operations"]

JSON = "application/json"
TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
_STEP = r"(\.[^.\[{]+|\[]|{})"


def answer_fields(operation: str, status: int) -> Fields:
    """The fields of an operation's JSON answer with this status; none where the answer has no JSON body."""
    fields: Fields = OPERATIONS[operation]["answers"][str(status)].get(JSON, {})
    return fields


def request_fields(operation: str, content_type: str = JSON) -> Fields:
    """The fields of an operation's request body."""
    fields: Fields = OPERATIONS[operation]["request"][content_type]
    return fields


def parameters(operation: str, place: str) -> Fields:
    """The parameters of an operation in one place: `query`, `path` or `header`."""
    found = OPERATIONS[operation]["parameters"].items()
    return {key.removeprefix(f"{place} "): fact for key, fact in found if key.startswith(f"{place} ")}


def faults(fields: Fields, value: Any, path: str = "$") -> Iterator[str]:
    """What the facts don't allow in a body: one text for each place, without the value."""
    fact = fields.get(path)
    if fact is None:
        yield f"{path} is not documented"
    elif value is None:
        if _typed(fact) and not fact.get("nullable"):
            yield f"{path} is null"
    elif reasons := misfits(fact, value):
        yield f"{path}: {reasons}"
    elif isinstance(value, dict):
        yield from _faults_inside(fields, value, path)
    elif isinstance(value, list) and f"{path}[]" in fields:
        for each in value:
            yield from faults(fields, each, f"{path}[]")


def _faults_inside(fields: Fields, value: dict[str, Any], path: str) -> Iterator[str]:
    inside = {step: fields[path + step] for step in _steps_below(fields, path)}
    missing = [step for step, fact in inside.items() if fact.get("required") and step[1:] not in value]
    yield from (f"{path}{step} is required" for step in missing)
    if not inside and not fields[path].get("closed"):
        return  # the document says that it is an object, and no more
    for name, each in value.items():
        step = f".{name}" if f".{name}" in inside or "{}" not in inside else "{}"
        yield from faults(fields, each, path + step)


def _steps_below(fields: Fields, path: str) -> list[str]:
    below = (key.removeprefix(path) for key in fields if key.startswith(path))
    return [rest for rest in below if re.fullmatch(_STEP, rest)]


def _typed(fact: Fact) -> bool:
    return "type" in fact or "any_of" in fact


def misfits(fact: Fact, value: Any) -> str:
    """Why a value that is not null is none that a fact allows; empty if it is one."""
    if "any_of" in fact:
        reasons = [misfits(choice, value) for choice in fact["any_of"]]
        return "" if "" in reasons else " or ".join(reasons)
    kind = fact.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return f"{type(value).__name__} is no {kind}"
    if "enum" in fact and value not in fact["enum"]:
        return "none of the enum"
    if isinstance(value, str):
        return _misfits_of_text(fact, value)
    if isinstance(value, (int, float)):
        in_range = fact.get("minimum", value) <= value <= fact.get("maximum", value)
        return "" if in_range else "out of range"
    return ""


def _misfits_of_text(fact: Fact, text: str) -> str:
    if not fact.get("minLength", 0) <= len(text) <= fact.get("maxLength", len(text)):
        return "wrong length"
    if "pattern" in fact and not re.search(fact["pattern"], text):
        return "not of the pattern"
    return "" if _of_format(fact.get("format"), text) else f"no {fact['format']}"


def _of_format(form: str | None, text: str) -> bool:
    try:
        match form:
            case "date-time":  # the API leaves out the offset at times, so its absence is none of our faults
                return "T" in text and bool(datetime.fromisoformat(text))
            case "uuid":
                return str(UUID(text)) == text.lower()
            case "url" | "uri":
                return bool(re.match(r"https?://\S+$", text))
            case _:
                return True
    except ValueError:
        return False
