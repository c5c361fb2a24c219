"""Passwords at rest: salted scrypt hashes (RFC 7914), without characters that a shell or Compose interprets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

from zxcvbn import zxcvbn

from backmarket.errors import SettingsError

MIN_PASSWORD_CHARS = 10
"""Minimum length of a password."""
COST = 2**15
"""scrypt's cost: 32 MiB and 0.1 s a try. OWASP's minimum is 2^17; this leaves room for two tries at once in 256 MiB."""
MIN_SCORE = 3
"""zxcvbn's least score: more than 10^8 guesses, each of which costs an attacker with the hash as much as a login."""
MAX_JUDGED_CHARS = 72
"""Number of characters that are judged: zxcvbn takes no more."""
_OUR_WORDS = ("backmarket", "back market", "console", "operator", "viewer")
_BLOCK, _LANES = 8, 1
_COSTS = frozenset(2**power for power in range(10, 18))
_MEMORY = 256 * 1024 * 1024
_FORM = re.compile(r"scrypt:(\d{1,8}):(\d{1,3}):(\d{1,3}):([\w-]{16,64}):([\w-]{20,128})", re.ASCII)


def hashed(password: str, *, name: str = "", cost: int = COST) -> str:
    """The hash of a password.

    Args:
        password: the password in clear text.
        name: the user's name, which makes a password that holds it weaker.
        cost: scrypt's cost, a power of two.

    Raises:
        SettingsError: if it is shorter than 10 characters, or easy to guess.
    """
    if len(password) < MIN_PASSWORD_CHARS:
        raise SettingsError(f"The password is too short. Choose {MIN_PASSWORD_CHARS} characters or more.")
    judged = zxcvbn(password[:MAX_JUDGED_CHARS], user_inputs=[name, *_OUR_WORDS])  # type: ignore[no-untyped-call]
    if judged["score"] < MIN_SCORE:
        raise SettingsError("This password is easy to guess. Choose four random words, or let a program make one.")
    salt = secrets.token_bytes(16)
    digest = _digest(password, salt, cost, _BLOCK, _LANES)
    return f"scrypt:{cost}:{_BLOCK}:{_LANES}:{_text(salt)}:{_text(digest)}"


def matches(password: str, kept: str) -> bool:
    """Whether this is the password; takes as long for a wrong one."""
    found = _FORM.fullmatch(kept)
    if found is None or not is_hash(kept):
        return False
    cost, block, lanes = (int(found[number]) for number in (1, 2, 3))
    return hmac.compare_digest(_digest(password, _bytes(found[4]), cost, block, lanes), _bytes(found[5]))


def is_hash(kept: str) -> bool:
    """Whether this has the form of a hash from `hashed`, with a cost that can be computed."""
    found = _FORM.fullmatch(kept)
    return found is not None and int(found[1]) in _COSTS and (int(found[2]), int(found[3])) == (_BLOCK, _LANES)


def _digest(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=cost, r=block, p=lanes, maxmem=_MEMORY, dklen=32
    )


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(f"{text}{'=' * (-len(text) % 4)}")
