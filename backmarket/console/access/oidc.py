"""Login at an OpenID provider: the authorization code flow with PKCE, by Authlib. Its tokens are not kept."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from authlib.deprecate import AuthlibDeprecationWarning
from starlette.requests import Request
from starlette.responses import Response

from backmarket.console import paths
from backmarket.console.access.users import Person, Role
from backmarket.errors import ENV_PREFIX, SettingsError
from backmarket.observability.logs import Logger
from backmarket.settings import Settings

warnings.filterwarnings("ignore", "The httpx module is deprecated", AuthlibDeprecationWarning)  # we have no other one
from authlib.integrations.starlette_client import OAuth, OAuthError  # noqa: E402 - it warns when it is imported

CALLBACK = "/login/oidc/callback"
"""Path to which the provider sends the browser back; its address there is `CONSOLE_URL` with this path."""
MAX_WANTED_CHARS = 500
"""Maximum length of the path to open after the login, in characters: it travels in a cookie."""
TIMEOUT_SECONDS = 10.0
"""Seconds for one request to the provider."""
_NEEDED = ("console_oidc_client_id", "console_oidc_client_secret", "console_url")

log = Logger(__name__)


class LoginRefused(Exception):
    """The provider's answer lets no person in; the text says why, and quotes nothing of it.

    Attributes:
        code: the reason in one word.
        person: the person whom the provider named; None: it was not understood to name one.
    """

    def __init__(self, text: str, code: str = "provider", person: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.person = person


class OpenIdProvider:
    """The provider of the settings.

    Args:
        settings: its issuer, our id and secret there, and the groups that may log in.

    Raises:
        SettingsError: if one of these settings is missing.
    """

    def __init__(self, settings: Settings) -> None:
        missing = [name for name in _NEEDED if not getattr(settings, name)]
        if missing:
            names = " and ".join(f"{ENV_PREFIX}{name.upper()}" for name in missing)
            raise SettingsError(f"Set {names}: with {ENV_PREFIX}CONSOLE_OIDC_ISSUER, the login needs it.")
        if not settings.console_oidc_operator_groups and not settings.console_oidc_viewer_groups:
            raise SettingsError(
                f"No user of the OpenID provider could log in. Set {ENV_PREFIX}CONSOLE_OIDC_OPERATOR_GROUPS or"
                f" {ENV_PREFIX}CONSOLE_OIDC_VIEWER_GROUPS."
            )
        self._issuer = settings.need("console_oidc_issuer")
        self._client_id = settings.console_oidc_client_id
        self.name = settings.console_oidc_name or urlsplit(self._issuer).netloc
        self._redirect_uri = f"{settings.console_url}{CALLBACK}"
        self._user_claim, self._groups_claim = settings.console_oidc_user_claim, settings.console_oidc_groups_claim
        self._roles = {
            Role.OPERATOR: frozenset(settings.console_oidc_operator_groups),
            Role.VIEWER: frozenset(settings.console_oidc_viewer_groups),
        }
        logging.getLogger("authlib").setLevel(logging.INFO)  # below, it tells the code's verifier
        self._client = OAuth().register(
            "provider",
            client_id=self._client_id,
            client_secret=settings.need("console_oidc_client_secret"),
            server_metadata_url=f"{self._issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.console_oidc_scope,
                "code_challenge_method": "S256",
                "timeout": TIMEOUT_SECONDS,
            },
        )

    @property
    def rules(self) -> str:
        """All that decides who gets which role; with another value, the sessions of this one end."""
        groups = [(role, sorted(names)) for role, names in self._roles.items()]
        return repr((self._issuer, self._client_id, self._user_claim, self._groups_claim, groups))

    async def begin(self, request: Request, wanted: str) -> Response:
        """Redirect the browser to the provider. State, nonce and the code's verifier stay in its signed cookie.

        Args:
            request: the request for a login.
            wanted: the path to open after the login.

        Raises:
            LoginRefused: if the provider cannot be asked.
        """
        request.session.clear()
        request.session["wanted"] = wanted if len(wanted) <= MAX_WANTED_CHARS else "/"
        try:
            await self._load_metadata()
            response: Response = await self._client.authorize_redirect(request, self._redirect_uri)
        except Exception as error:  # noqa: BLE001 - a provider may answer anything, and its words stay out of page and log
            raise _refused(error) from None
        return response

    async def finish(self, request: Request) -> tuple[Person, str]:
        """The person whom the provider names in its answer, and the path to open.

        Args:
            request: the one that the provider sent the browser back with.

        Raises:
            LoginRefused: if the answer does not belong to a login of this browser, is not the provider's, or names a
                person without a group of ours.
        """
        wanted = paths.local(str(request.session.pop("wanted", "/")))
        try:
            await self._load_metadata()
            if request.query_params.get("iss", self._issuer) != self._issuer:
                raise OAuthError("another_issuer")
            token = await self._client.authorize_access_token(
                request,
                claims_options={
                    "iss": {"essential": True, "value": self._issuer},
                    "aud": {"essential": True, "value": self._client_id},
                },
            )
            if "id_token" not in token:  # without one, what follows would be the provider's unsigned words
                raise OAuthError("no_id_token")
            claims = token["userinfo"]  # the claims of the ID token, verified
        except Exception as error:  # noqa: BLE001 - a provider may answer anything, and its words stay out of page and log
            raise _refused(error) from None
        finally:
            request.session.clear()  # no answer is taken twice by this browser
        return self._person(claims), wanted

    async def _load_metadata(self) -> None:
        metadata = await self._client.load_server_metadata()
        if metadata.get("issuer") != self._issuer:
            metadata.pop("_loaded_at", None)  # it is asked again, once it is put right
            raise OAuthError("another_issuer")

    def _person(self, claims: Mapping[str, Any]) -> Person:
        name = claims.get(self._user_claim)
        if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
            raise LoginRefused(f"The provider does not name you in the claim {self._user_claim}.")
        given = claims.get(self._groups_claim)
        listed = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        groups = {each for each in listed if isinstance(each, str)}
        role = next((role for role, names in self._roles.items() if names & groups), None)
        if role is None:
            why = "You are in none of the groups that may use the console. Ask its operator to add you."
            raise LoginRefused(why, "no_group", name)
        return Person(name, role, "oidc")


def _refused(error: Exception) -> LoginRefused:
    """What the person reads; the log names the kind of error alone."""
    code = str(getattr(error, "error", None) or "")
    known = code if re.fullmatch(r"[a-z_]{1,40}", code) else None
    log.warning("console.oidc_failed", error=type(error).__name__, code=known)
    if known == "access_denied":
        return LoginRefused("The provider did not log you in.")
    return LoginRefused("The login at the provider did not succeed. Try again; the console's log may say more.")
