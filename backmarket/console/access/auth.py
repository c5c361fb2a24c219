"""Authentication of the console: who sends a request, login and logout, and CSRF tokens of forms."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from backmarket.audit import Act, Actor, ProvedBy, acting
from backmarket.console.access import passwords
from backmarket.console.access.addresses import client_address, comes_from, network_of, networks
from backmarket.console.access.cookies import browser_of, new_token, signing_key
from backmarket.console.access.oidc import OpenIdProvider
from backmarket.console.access.refusals import Refusals
from backmarket.console.access.throttle import Throttle
from backmarket.console.access.users import Person, Role, User, users_of
from backmarket.database.console_sessions import Lifetime, NewSession
from backmarket.errors import BackMarketError, SettingsError
from backmarket.facade import BackMarket
from backmarket.observability.logs import Logger
from backmarket.settings import Settings

EVENTS = "/events"
"""Path of the changes that open pages follow."""
CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
TRIES_OF_AN_ADDRESS = 10
TRIES_OF_A_NAME = 30
"""Logins allowed in ten minutes without a success. A name's limit is wide: strangers must not lock out its owner."""

log = Logger(__name__)


class Auth:
    """Authenticates people.

    Args:
        settings: the users, or the proxy or the OpenID provider that authenticates them.
        bm: the object that keeps their sessions.

    Raises:
        SettingsError: if the settings would let no user in, or every one; the text says what to set.
    """

    def __init__(self, settings: Settings, bm: BackMarket) -> None:
        self._bm = bm
        self._key = signing_key(settings)
        self.users = users_of(settings)
        self.user_header = settings.console_proxy_user_header
        self._groups_header = settings.console_proxy_groups_header
        self._operator_group = settings.console_proxy_operator_group
        self._proxies = networks(settings.console_proxy_addresses)
        self._lifetime = Lifetime(
            round(settings.console_session_hours * 3600), settings.console_session_idle_minutes * 60
        )
        self._refusals = Refusals(bm)
        self._of_address, self._of_name = Throttle(TRIES_OF_AN_ADDRESS), Throttle(TRIES_OF_A_NAME)
        self.provider = OpenIdProvider(settings) if settings.console_oidc_issuer else None
        self._of_provider = self._keyed(f"oidc:{self.provider.rules}") if self.provider else ""
        self._credentials = [*map(self._credential, self.users.values()), *filter(None, [self._of_provider])]
        if self.user_header and not self._proxies:
            raise SettingsError(
                f"Anyone could send the header {self.user_header}. Set BACKMARKET_CONSOLE_PROXY_ADDRESSES to the"
                " addresses of the proxy that sets it."
            )
        if not self.has_login and not self.user_header:
            raise SettingsError(
                "The console does not start without a password or an authenticating proxy. Set"
                " BACKMARKET_CONSOLE_USERS to what `backmarket console password NAME` prints, or"
                " BACKMARKET_CONSOLE_PASSWORD for the one user admin, or"
                " BACKMARKET_CONSOLE_PROXY_USER_HEADER and BACKMARKET_CONSOLE_PROXY_ADDRESSES, or"
                " BACKMARKET_CONSOLE_OIDC_ISSUER for an OpenID provider."
            )

    @property
    def has_login(self) -> bool:
        """Whether people log in here: with a password, or at the OpenID provider."""
        return bool(self.users or self.provider)

    async def identify(self, request: Request) -> Person | None:
        """The user who sends a request; None: not authenticated. Reads the session once a request.

        Raises:
            BackMarketError: if the session cannot be read. The request counts as a stranger's then.
        """
        if not hasattr(request.state, "person"):
            request.state.person = None
            request.state.person = self._named_by_proxy(request) or await run_in_threadpool(self._logged_in, request)
        return self.person(request)

    def person(self, request: Request) -> Person | None:
        """The user whom `identify` found."""
        found: Person | None = getattr(request.state, "person", None)
        return found

    async def goes_on(self, request: Request) -> bool:
        """Whether the user of a request that is being answered is still authenticated, and that can be read."""
        try:
            found = self._named_by_proxy(request) or await run_in_threadpool(self._logged_in, request)
        except BackMarketError:
            return False
        return found is not None and found == self.person(request)

    def actor(self, request: Request, person: Person | None) -> Actor:
        """Who acts with a request, for the audit trail; without a person, only where from is known."""
        proof = ProvedBy.CONSOLE_PROXY if person and person.proved_by == "proxy" else ProvedBy.CONSOLE_LOGIN
        return Actor(person.name if person else None, proof, client_address(request, self._proxies))

    def reserve(self, request: Request, name: str) -> float:
        """Reserve a login, if one is allowed now; otherwise return the seconds until then."""
        network = network_of(client_address(request, self._proxies))
        wait = max(self._of_address.wait(network), self._of_name.wait(name))
        if not wait:
            self._of_address.reserve(network)
            self._of_name.reserve(name)
        return wait

    def refuse_login(self, request: Request, name: str | None, code: str) -> None:
        """Record a refused login.

        Args:
            request: the login.
            name: of a user, or of a person at the provider. None: any other text, which may be a password.
            code: the reason.
        """
        key = ("login", network_of(client_address(request, self._proxies)), name)
        with acting(self.actor(request, None)):
            self._refusals.record(key, Act("console.login", kind="person", object_id=name), code)

    def refuse_act(self, request: Request, person: Person, act: Act) -> None:
        """Record an act that the person's role does not allow."""
        with acting(self.actor(request, person)):
            self._refusals.record(("act", person, act.organization_id, str(act.details)), act, "role")

    def log_in(self, request: Request, name: str, password: str) -> bool:
        """Log a user in, with a new session; it takes a tenth of a second, whether there is such a user or not.

        The caller has reserved it.

        Raises:
            BackMarketError: if the session cannot be stored.
        """
        user = self.users.get(name)
        right = passwords.matches(password, user.password if user else _of_no_user()) and user is not None
        address = client_address(request, self._proxies)
        if user is None or not right:
            log.warning("console.login_failed", address=address)
            self.refuse_login(request, user.name if user else None, "wrong_password")
            return False
        self._of_address.release(network_of(address))
        self._of_name.forget(name)
        self._start(request, Person(user.name, user.role, "password"), self._credential(user))
        return True

    def log_in_from_provider(self, request: Request, person: Person) -> None:
        """Log a person in whom the OpenID provider named, with a new session.

        Raises:
            BackMarketError: if the session cannot be stored.
        """
        self._start(request, person, self._of_provider)

    def _start(self, request: Request, person: Person, credential: str) -> None:
        """Start a session under a new token, so that a token from before the login is worth nothing."""
        browser, token = browser_of(request), new_token()
        address = client_address(request, self._proxies)[:100]
        new = NewSession(person.name, person.role, person.proved_by, credential, address)
        with acting(self.actor(request, person)):
            self._bm.start_console_session(token, new, self._lifetime, replaces=browser.token)
        browser.renew(token, max_age=round(self._lifetime.max_seconds))
        request.session.clear()
        log.info("console.login", name=person.name, role=person.role, proved_by=person.proved_by)

    def log_out(self, request: Request) -> None:
        """End a session for good, even if copies of its cookie exist.

        Raises:
            BackMarketError: if that cannot be stored. The session goes on.
        """
        browser, person = browser_of(request), self.person(request)
        with acting(self.actor(request, person)):
            self._bm.end_console_session(browser.token, person.name if person else None)
        browser.renew(new_token())
        request.session.clear()

    def token(self, request: Request) -> str:
        """The CSRF token of our forms, for this session and this user."""
        key, person = browser_of(request).token, self.person(request)
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
        if browser_of(request).given is None:
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
        token = browser_of(request).given
        if token is None or not self._credentials:
            return None
        found = self._bm.use_console_session(
            token, self._credentials, self._lifetime, by_person=not _refreshes_itself(request)
        )
        return None if found is None else Person(found.person, Role(found.role), found.proved_by)

    def _credential(self, user: User) -> str:
        """A value that changes with the password and the role, so that older sessions end. It tells nothing of them."""
        return self._keyed(f"{user.name}:{user.role}:{user.secret}")

    def _keyed(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _refreshes_itself(request: Request) -> bool:
    """Whether an open page sends the request by itself: all parts that pages GET are such."""
    return request.method == "GET" and ("hx-request" in request.headers or request.url.path == EVENTS)


@cache
def _of_no_user() -> str:
    """The hash that the password of an unknown name is compared with, so that it takes as long."""
    return passwords.hashed(secrets.token_hex(16))
