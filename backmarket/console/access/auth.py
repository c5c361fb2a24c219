"""Authentication of the console: who sends a request, login and logout, and CSRF tokens of forms."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from functools import cache

import structlog
from starlette.requests import Request

from backmarket.console.access import passwords
from backmarket.console.access.addresses import client_address, comes_from, network_of, networks
from backmarket.console.access.throttle import Throttle
from backmarket.console.access.users import Person, Role, User, users_of
from backmarket.errors import SettingsError
from backmarket.settings import Settings

CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
TRIES_OF_AN_ADDRESS = 10
TRIES_OF_A_NAME = 30
"""Logins allowed in ten minutes without a success. A name's limit is wide: strangers must not lock out its owner."""

log = structlog.get_logger(__name__)


class Auth:
    """Authenticates people.

    Args:
        settings: the users, or the proxy that authenticates them.

    Raises:
        SettingsError: if the settings would let no user in, or every one; the text says what to set.
    """

    def __init__(self, settings: Settings) -> None:
        self.users = users_of(settings)
        self.user_header = settings.console_proxy_user_header
        self._groups_header = settings.console_proxy_groups_header
        self._operator_group = settings.console_proxy_operator_group
        self._proxies = networks(settings.console_proxy_addresses)
        self._seconds = settings.console_session_hours * 3600
        self._of_address, self._of_name = Throttle(TRIES_OF_AN_ADDRESS), Throttle(TRIES_OF_A_NAME)
        self._ended: dict[str, float] = {}
        if self.user_header and not self._proxies:
            raise SettingsError(
                f"Anyone could send the header {self.user_header}. Set BACKMARKET_CONSOLE_PROXY_ADDRESSES to the"
                " addresses of the proxy that sets it."
            )
        if not self.users and not self.user_header:
            raise SettingsError(
                "The console does not start without a password or an authenticating proxy. Set"
                " BACKMARKET_CONSOLE_USERS to what `backmarket console password NAME` prints, or"
                " BACKMARKET_CONSOLE_PASSWORD for the one user admin, or"
                " BACKMARKET_CONSOLE_PROXY_USER_HEADER and BACKMARKET_CONSOLE_PROXY_ADDRESSES."
            )

    def person(self, request: Request) -> Person | None:
        """The user who sends a request; None: not authenticated."""
        return self._named_by_proxy(request) or self._logged_in(request)

    def reserve(self, request: Request, name: str) -> float:
        """Reserve a login, if one is allowed now; otherwise return the seconds until then."""
        network = network_of(client_address(request, self._proxies))
        wait = max(self._of_address.wait(network), self._of_name.wait(name))
        if not wait:
            self._of_address.reserve(network)
            self._of_name.reserve(name)
        return wait

    def log_in(self, request: Request, name: str, password: str) -> bool:
        """Log a user in, with a new session; it takes a tenth of a second, whether there is such a user or not.

        The caller has reserved it.
        """
        user = self.users.get(name)
        right = passwords.matches(password, user.password if user else _of_no_user()) and user is not None
        address = client_address(request, self._proxies)
        if user is None or not right:
            log.warning("console.login_failed", address=address)
            return False
        self._of_address.release(network_of(address))
        self._of_name.forget(name)
        request.session.clear()
        request.session.update(
            name=user.name, mark=_mark(user), id=secrets.token_urlsafe(16), at=int(time.time()), csrf=_token()
        )
        log.info("console.login", name=user.name, role=user.role)
        return True

    def log_out(self, request: Request) -> None:
        """End a session, even if copies of its cookie exist."""
        now = time.time()
        self._ended = {each: until for each, until in self._ended.items() if until > now}
        if found := request.session.get("id"):
            self._ended[found] = now + self._seconds
        request.session.clear()

    def token(self, request: Request) -> str:
        """The CSRF token of our forms, for this session and this user."""
        key = str(request.session.setdefault("csrf", _token()))
        person = self.person(request)
        user = f"{person.proved_by}:{person.name}" if person else ""
        return hmac.new(key.encode(), user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def is_ours(self, request: Request, given: str) -> bool:
        """Whether a request was sent by one of our pages.

        Args:
            request: any request but a GET.
            given: the CSRF token that it carries.
        """
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return False
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            return False
        if not request.session.get("csrf"):
            return False
        return hmac.compare_digest(self.token(request).encode(), given.encode("utf-8", "replace"))

    def _named_by_proxy(self, request: Request) -> Person | None:
        if not self.user_header or not comes_from(request, self._proxies):
            return None
        names = request.headers.getlist(self.user_header)
        if len(names) != 1 or not names[0].strip():
            return None
        named = request.headers.getlist(self._groups_header)
        if len(named) > 1:  # one may be the client's own
            return None
        groups = {each.strip() for each in "".join(named).split(",")}
        role = Role.OPERATOR if self._operator_group and self._operator_group in groups else Role.VIEWER
        return Person(names[0].strip()[:200], role, "proxy")

    def _logged_in(self, request: Request) -> Person | None:
        session = request.session
        user = self.users.get(str(session.get("name", "")))
        if user is None or not hmac.compare_digest(str(session.get("mark", "")), _mark(user)):
            return None
        if session.get("id") in self._ended or time.time() > session.get("at", 0) + self._seconds:
            return None
        return Person(user.name, user.role, "password")


def _mark(user: User) -> str:
    """A value that changes with the password and the role, so that older sessions end."""
    return hashlib.sha256(f"{user.role}:{user.password}".encode()).hexdigest()[:32]


@cache
def _of_no_user() -> str:
    """The hash that the password of an unknown name is compared with, so that it takes as long."""
    return passwords.hashed(secrets.token_hex(16))


def _token() -> str:
    return secrets.token_urlsafe(24)
