"""What foreign producers may put into our queues: a right message, broken at every place of it, in every way."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from uuid import uuid4

from backmarket.messages import QUEUES

ODD: tuple[Any, ...] = (None, True, 5, -1.5, 10**30, [], [[]], {}, {"a": 1}, "", "x", "a\0b", "\ud800", "9999-99-99")
"""Values that stand where something else should."""

BODIES = (
    b"", b"null", b"5", b"{}", b"[]", b"[[]]", b"[[], {}]", b"[[], {}, null]", b"[[], {}, {}, 4]", b"[null, null]",
    b'["x", "y", "z"]', b"not json", b"\xff\xfe\x00", b"[" * 100_000, b'[["x", NaN, 1e999], {}, {}]',
    b'[["x"], {}, {"callbacks": 5, "errbacks": 6, "chain": 7}]', b'[["x"], {}, {"chord": "y", "chain": [{"task": 1}]}]',
)  # fmt: skip
"""Bodies that are no arguments, arguments, and instructions of a task."""

RAW = (b"", b"hello", b"\xff\xfe\x00", b"[]", b"null", b"5", b'"x"', b"{}", b"[" * 100_000, b'{"properties": ')
"""What is not even a message."""

ARGUMENTS: tuple[tuple[list[Any], dict[str, Any]], ...] = (
    *(([value], {}) for value in ODD),
    ([], {}),
    ([], {"nudge": True}),
    (["a", "b", "c"], {}),
    (["x" * 1_000_000], {}),
    (["nobody"], {"nudge": "yes"}),
    (["nobody"], {"nudge": None}),
    (["nobody"], {"organization_id": "y"}),
    (["nobody"], {"self": 1, "task": 2}),
    (["nobody", "uploads/../x"], {}),
    (["nobody", "uploads/a\0b"], {}),
    (["nobody", "uploads/x"], {"max_age": "soon", "no_such_option": 1}),
    ([], {"organization_id": "nobody", "object_key": ["uploads/x"]}),
)
"""Arguments that are not those of the task."""


def message(task: str, args: Any = (), kwargs: Any = None, *, body: bytes | None = None) -> dict[str, Any]:
    """A message as Celery makes it; with another body, if one is given."""
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    text = json.dumps([list(args), kwargs or {}, embedded]).encode() if body is None else body
    number = str(uuid4())
    return {
        "body": base64.b64encode(text).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py", "task": task, "id": number, "root_id": number, "parent_id": None, "group": None,
            "shadow": None, "eta": None, "expires": None, "retries": 0, "timelimit": [None, None],
            "argsrepr": "()", "kwargsrepr": "{}", "origin": "stranger", "ignore_result": True, "stamps": {},
            "stamped_headers": None, "replaced_task_nesting": 0, "group_index": None,
        },
        "properties": {
            "correlation_id": number, "reply_to": "", "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUES.get(task, "")}, "delivery_tag": str(uuid4()),
        },
    }  # fmt: skip


def unfit(task: str) -> Iterator[bytes]:
    """Messages for the queue of a task that nobody can do anything with, as they stand in Redis."""
    yield from RAW
    for body in BODIES:
        yield _text(message(task, body=body))
    for args, kwargs in ARGUMENTS:
        yield _text(message(task, args, kwargs))
    for name in ("backmarket.nothing", "os.system", "celery.chord", "celery.map", "celery.backend_cleanup"):
        yield _text(message(name, ["nobody"]))
    first_protocol: dict[str, object] = {"task": task, "id": None, "args": 5, "kwargs": []}
    yield _text(message(task, body=json.dumps(first_protocol).encode()) | {"headers": {}})


def broken(task: str) -> Iterator[bytes]:
    """A right message for a task without each of its parts, and with each odd value in place of it."""
    right = message(task, ["nobody"], {"nudge": True})
    for path in _paths(right):
        yield _text(_changed(right, path))
        for value in ODD:
            yield _text(_changed(right, path, value))


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield (*path, name)
        yield from _paths(inner, (*path, name))


_NOTHING = object()


def _changed(right: dict[str, Any], path: tuple[str, ...], value: Any = _NOTHING) -> dict[str, Any]:
    changed = deepcopy(right)
    changed["properties"]["delivery_tag"] = str(uuid4())  # two with one tag are one message to the broker
    *outer, last = path
    place = changed
    for name in outer:
        place = place[name]
    if value is _NOTHING:
        del place[last]
    else:
        place[last] = value
    return changed


def _text(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()
