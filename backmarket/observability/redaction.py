"""What a text of the API may say in an error, a log line or a row that a person reads.

The API's error texts can quote what was sent. Whatever looks like an e-mail address, a phone number or a long
opaque word is blanked, what cannot be printed is left out, and the text is cut short.
"""

from __future__ import annotations

import re

MAX_TEXT_CHARS = 300
"""Maximum stored length of a foreign text."""

_SECRET = re.compile(
    # an e-mail address; looked for at the beginning of words only, or 64 kB without one would take minutes
    r"(?<![^\s<>\"'])[^\s<>\"'@%]*(?:%(?!40)[^\s<>\"'@%]*)*(?:@|%40)[^\s<>\"']*"
    r"|(?i:basic|bearer)\s+\S+"
    r"|[A-Za-z0-9+/_=-]{32,}"  # a token
)
_NUMBER = re.compile(r"\+?\d(?:[\s().\-/]{0,3}\d){7,}")
"""A phone number, an IMEI; looked for last, or it would leave the end of a token that begins with digits."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def redact(text: str) -> str:
    """The text on one line, without what looks personal or secret, at most `MAX_TEXT_CHARS` characters."""
    line = " ".join(text.split())
    if not line.isprintable():  # NUL, half a surrogate pair, an escape sequence of a terminal
        line = "".join(character for character in line if character.isprintable())
    return _NUMBER.sub("[redacted]", _SECRET.sub("[redacted]", line))[:MAX_TEXT_CHARS]


def opaque_id(value: object) -> str | None:
    """An id that the other side gave, whole, for its support; None where it does not look like one."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
