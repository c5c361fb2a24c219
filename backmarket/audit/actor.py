"""Who acts: set for each request of the console, each command, each message, or by the host application."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from backmarket.errors import InvalidArgument

MAX_CHARS = 200
"""Maximum length of a name, an origin and an id in the trail, in characters."""


class ProvedBy(StrEnum):
    """How it is known who acted; see the table `audit`."""

    CONSOLE_LOGIN = "console login"
    CONSOLE_PROXY = "console proxy"
    CLI = "cli"
    APPLICATION = "application"
    BROKER = "unverified (broker)"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or an application that acts.

    Attributes:
        name: the actor's name; None: it was not named.
        proved_by: how that is known.
        origin: the client's address, the process's host, or the sender that a message names.
    """

    name: str | None
    proved_by: ProvedBy
    origin: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", clean(self.name))
        object.__setattr__(self, "origin", clean(self.origin))

    @property
    def label(self) -> str:
        """The actor in one text, such as `anna (console login)`; the proof comes last, and no name can replace it."""
        proof = self.proved_by.value
        return f"{self.name} ({proof})" if self.name else proof


_actor: ContextVar[Actor | None] = ContextVar("backmarket_actor", default=None)


def current_actor() -> Actor:
    """Who acts now; without `acting`, the application that runs this process, unnamed."""
    return _actor.get() or this_process()


def this_process() -> Actor:
    """The application that runs this process, unnamed; a worker that acts by itself is one."""
    return Actor(None, ProvedBy.APPLICATION, _host())


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Record what is done within the block, in this thread or task, as this actor's."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def named_by_application(name: str) -> Actor:
    """An actor whom the host application names; the name is not verified.

    Raises:
        InvalidArgument: if the name has not 1 to 200 printable characters.
    """
    if not (isinstance(name, str) and 1 <= len(name) <= MAX_CHARS and name.isprintable()):
        raise InvalidArgument(f"An actor's name has 1 to {MAX_CHARS} printable characters.")
    return Actor(name, ProvedBy.APPLICATION, _host())


def this_user() -> Actor:
    """The operating system's user of this process; environment variables cannot change it."""
    return Actor(_user_name(), ProvedBy.CLI, _host())


def clean(text: object) -> str | None:
    """A text as the trail can hold it: no control characters, 200 characters at most; None: empty."""
    if text is None:
        return None
    return "".join(each if each.isprintable() else "?" for each in str(text)[:MAX_CHARS]) or None


def _user_name() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # a container's user may have a number only
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _host() -> str:
    return socket.gethostname()
