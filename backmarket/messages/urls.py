"""URLs of servers, which may carry a password, and origins.

Imports nothing heavy: the producer uses it inside host applications.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import urlsplit

_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""A host's name in lower case, without a final dot; the names of containers may have underscores."""

UNCLEAR = "must have each of @ : / ? # % in its user and password percent-encoded (%40 for @), and a number as port"
"""What to write instead of a URL that `is_clear` refuses."""


def is_clear(url: str) -> bool:
    """Whether it is clear which part of a URL is the password.

    Otherwise a part of it would be taken for the host or the port, which servers and libraries name in their errors.
    """
    authority, *behind = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)
    user, _, hosts = authority.rpartition("@")
    return "@" not in "".join([user, *behind]) and all(_HOST.fullmatch(host) for host in hosts.split(","))


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, lower-case, without a path.

    Raises:
        ValueError: if it is not an http or https origin, or has a path, a query or a user.
    """
    form = "it is not an origin such as https://host or http://host:port"
    try:
        parts = urlsplit(url.strip())
        port_number = parts.port
    except ValueError:
        raise ValueError(form) from None  # urlsplit's text would quote the value
    name = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or port_number == 0 or not _is_host(name):
        raise ValueError(form)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("an origin has no path, query, fragment or user: https://host or http://host:port")
    host = f"[{name}]" if ":" in name else name
    default = {"http": 80, "https": 443}[parts.scheme]
    port = f":{port_number}" if port_number not in {None, default} else ""
    return f"{parts.scheme}://{host}{port}"


def _is_host(name: str) -> bool:
    if ":" not in name:
        return HOST_NAME.fullmatch(name.removesuffix(".")) is not None
    try:
        return IPv6Address(name).scope_id is None
    except ValueError:
        return False
