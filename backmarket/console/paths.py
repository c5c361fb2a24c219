"""The console's addresses. An organization id may be anything printable, so an unusual one is encoded in a
path: no proxy can then normalize an id like `a/../b` to another path.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request

from backmarket.console.numbers import whole_number

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_MARK = "~"


def segment(organization_id: str) -> str:
    """An organization's part of a path: itself where it is plain, else `~` and its base64."""
    if _PLAIN.fullmatch(organization_id):
        return organization_id
    return _MARK + base64.urlsafe_b64encode(organization_id.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def organization_of(part: str) -> str | None:
    """The organization id that a part of a path stands for; None: the part is invalid."""
    if not part.startswith(_MARK):
        return part if _PLAIN.fullmatch(part) else None
    encoded = part.removeprefix(_MARK)
    try:
        found = base64.b64decode(f"{encoded}{'=' * (-len(encoded) % 4)}", altchars=b"-_", validate=True).decode()
    except ValueError:
        return None
    return found if 0 < len(found) <= 200 and found.isprintable() and segment(found) == part else None


def organization(organization_id: str, *parts: object) -> str:
    """The path of an organization, or of a page below it.

    Args:
        *parts: parts of the path below it, such as `orders` and a number.
    """
    return "/".join(["/o", segment(organization_id), *map(str, parts)])


def order_key(organization_id: str, order_id: int) -> str:
    """How a form names an order: the organization's part of a path, and the order's number."""
    return f"{segment(organization_id)}/{order_id}"


def order_of_key(key: str) -> tuple[str, int] | None:
    """The organization and the order that a form names; None: the name is invalid."""
    part, _, number = key.partition("/")
    organization_id, order_id = organization_of(part), whole_number(number)
    return None if organization_id is None or order_id is None else (organization_id, order_id)


def with_query(path: str, values: Mapping[str, object]) -> str:
    """A path with a query; None and empty values are left out."""
    asked = query(values)
    return f"{path}?{asked}" if asked else path


def query(values: Mapping[str, object]) -> str:
    """A query; None and empty values are left out."""
    return urlencode({name: str(value) for name, value in values.items() if value not in {None, ""}})


def of_request(request: Request) -> str:
    """The path and the query of a request, for a link or a form that comes back to its page."""
    path: str = request.scope.get("raw_path", b"/").decode("latin-1")
    return local(with_query(path, dict(request.query_params)))


def local(path: str | None) -> str:
    """The path to open after the login: one of the console's paths, never another host."""
    if path and re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", path):
        return path
    return "/"
