"""Users of the console and their roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from backmarket.console.access import passwords
from backmarket.errors import SettingsError
from backmarket.settings import Settings

ADMIN = "admin"
"""Name of the user whose password is `BACKMARKET_CONSOLE_PASSWORD`."""


class Role(StrEnum):
    """A user's role."""

    VIEWER = "viewer"
    """May see everything, and change nothing."""
    OPERATOR = "operator"
    """May change things, too."""


RENAMED_ROLES = {"look": Role.VIEWER, "act": Role.OPERATOR}
"""New names of renamed roles: the old name is refused."""


@dataclass(frozen=True, slots=True)
class Person:
    """An authenticated user.

    Attributes:
        name: the name in the settings or from the proxy.
        role: the user's role.
        proved_by: `password`, `oidc`, or the `proxy`.
    """

    name: str
    role: Role
    proved_by: str

    @property
    def is_operator(self) -> bool:
        """Whether this user may change things."""
        return self.role is Role.OPERATOR


@dataclass(frozen=True, slots=True)
class User:
    """A user who may log in with a password.

    Attributes:
        name: letters, digits, dots, dashes, underscores and `@`.
        role: the user's role.
        password: the hash; see `passwords`.
        secret: what is the same in every process as long as the password is.
    """

    name: str
    role: Role
    password: str = field(repr=False)
    secret: str = field(repr=False)


def users_of(settings: Settings) -> dict[str, User]:
    """The users of the settings, by name.

    Raises:
        SettingsError: if a user is not in the form that `backmarket console password` prints, or is named twice.
    """
    users: dict[str, User] = {}
    if settings.console_password:
        secret = settings.console_password.get_secret_value()
        users[ADMIN] = User(ADMIN, Role.OPERATOR, passwords.hashed(secret, name=ADMIN), secret)
    for number, given in enumerate(settings.console_users, start=1):
        user = _user(given.get_secret_value(), number)
        if user.name in users:
            raise SettingsError(
                f"BACKMARKET_CONSOLE_USERS names {user.name!r} twice, or repeats the user of"
                " BACKMARKET_CONSOLE_PASSWORD. Remove one of them."
            )
        users[user.name] = user
    return users


def as_setting(name: str, role: Role, password: str) -> str:
    """A user for `BACKMARKET_CONSOLE_USERS`.

    Args:
        name: the user's name.
        role: the user's role.
        password: the password in clear text.

    Raises:
        SettingsError: if the name or password is invalid.
    """
    check_name(name)
    return f"{name}:{role}:{passwords.hashed(password, name=name)}"


def check_name(name: str) -> str:
    """The name itself, if a user can have it.

    Raises:
        SettingsError: if the name is invalid.
    """
    if not 1 <= len(name) <= 100 or not all(each.isascii() and (each.isalnum() or each in "._-@") for each in name):
        raise SettingsError("A user's name has 1 to 100 letters, digits, and . _ - @.")
    return name


def _user(given: str, number: int) -> User:
    name, _, rest = given.partition(":")
    role, _, password = rest.partition(":")
    if role in RENAMED_ROLES:
        raise SettingsError(
            f"Entry {number} of BACKMARKET_CONSOLE_USERS has the role {role}, which is {RENAMED_ROLES[role]} now."
            f" Write name:{RENAMED_ROLES[role]}:hash; the hash stays."
        )
    try:
        check_name(name)
        if not passwords.is_hash(password):
            raise ValueError
        return User(name, Role(role), password, password)
    except (ValueError, SettingsError):
        raise SettingsError(
            f"Entry {number} of BACKMARKET_CONSOLE_USERS is not a user. Write it as `backmarket console password NAME`"
            " prints it: name:role:hash, with the role viewer or operator."
        ) from None
