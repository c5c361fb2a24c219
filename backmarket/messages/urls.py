"""URLs of servers, which may carry a password.

Imports nothing heavy: the producer uses it inside host applications.
"""

from __future__ import annotations

import re

_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")

UNCLEAR = "must have each of @ : / ? # % in its user and password percent-encoded (%40 for @), and a number as port"
"""What to write instead of a URL that `is_clear` refuses."""


def is_clear(url: str) -> bool:
    """Whether it is clear which part of a URL is the password.

    Otherwise a part of it would be taken for the host or the port, which servers and libraries name in their errors.
    """
    authority, *behind = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)
    user, _, hosts = authority.rpartition("@")
    return "@" not in "".join([user, *behind]) and all(_HOST.fullmatch(host) for host in hosts.split(","))
