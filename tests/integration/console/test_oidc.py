"""Login at an OpenID provider: a real one, and what an attacker or a broken provider may answer in its place."""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import RSAKey
from pydantic import ValidationError

from backmarket.console.app import COOKIE
from backmarket.errors import SettingsError
from tests.support.console import Open, Visitor, words
from tests.support.databases import open_connection
from tests.support.examples import some
from tests.support.openid import Claims, Provider, encoded, opened_provider, signed
from tests.support.settings import fresh_settings

HERE = "http://127.0.0.1"
SECRET = "the-console-s-secret-there"
OFFERED = "id_token_signing_alg_values_supported"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with opened_provider(
        anna={"preferred_username": "anna", "groups": ["staff", "console-operators"]},
        otto={"preferred_username": "otto", "groups": "console-viewers"},
        eve={"preferred_username": "eve", "groups": ["staff"]},
        nameless={"groups": ["console-operators"]},
        groupless={"preferred_username": "norman"},
        odd={"preferred_username": "odd", "groups": 7},
        long={"preferred_username": "x" * 201, "groups": ["console-operators"]},
    ) as provider:
        yield provider


@pytest.fixture
def console(opened: Open, provider: Provider) -> Callable[..., Visitor]:
    """Opens consoles whose people log in at the provider alone."""

    def open_console(**changes: Any) -> Visitor:
        values: dict[str, Any] = {
            "console_users": (),
            "console_url": HERE,
            "console_oidc_issuer": provider.url,
            "console_oidc_client_id": "backmarket",
            "console_oidc_client_secret": SECRET,
            "console_oidc_operator_groups": "console-operators, admins",
            "console_oidc_viewer_groups": "console-viewers",
        }
        return opened(**values | changes)

    open_console().bm.end_console_sessions()
    return open_console


def asked(visitor: Visitor, wanted: str = "/") -> str:
    """Follow the link on the login page; the address at the provider."""
    answer = visitor.get(f"/login/oidc?{urlencode({'next': wanted})}")
    assert answer.status_code == 302, words(answer.text)
    return str(answer.headers["location"])


def came_back(visitor: Visitor, address: str) -> Any:
    """Open the address that the provider sent the browser to."""
    return visitor.get(address.removeprefix(HERE))


def log_in(visitor: Visitor, provider: Provider, person: str = "anna", wanted: str = "/") -> Any:
    """The whole way."""
    return came_back(visitor, provider.authorize(asked(visitor, wanted), person))


def is_refused(visitor: Visitor, answer: Any) -> bool:
    """Whether an answer refuses the login in a sentence, and there is no session."""
    assert visitor.bm.get_console_sessions() == []
    assert visitor.get("/").status_code == 303
    return answer.status_code == 403 and 'role="alert"' in answer.text


class TestLogin:
    def test_the_page_offers_it(self, console: Callable[..., Visitor], provider: Provider) -> None:
        page = console(console_oidc_name="Staff <login>").get("/login?next=/connect").text
        assert "Log in with Staff &lt;login&gt;" in page
        assert 'href="/login/oidc?next=%2Fconnect"' in page
        assert "password" not in page
        assert f"Log in with {urlsplit(provider.url).netloc}" in console().get("/login").text

    def test_groups_are_roles_and_the_page_is_the_wanted_one(
        self, console: Callable[..., Visitor], provider: Provider
    ) -> None:
        operator, viewer = console(), console()
        done = log_in(operator, provider, wanted="/o/shop-1/orders?state=1")
        assert (done.status_code, done.headers["location"]) == (303, "/o/shop-1/orders?state=1")
        assert log_in(viewer, provider, "otto").status_code == 303
        assert ">viewer<" not in operator.get("/").text
        assert ">viewer<" in viewer.get("/").text
        assert [(each.person, each.role, each.proved_by) for each in viewer.bm.get_console_sessions()] == [
            ("otto", "viewer", "oidc"), ("anna", "operator", "oidc"),
        ]  # fmt: skip
        assert log_in(console(), provider, wanted="//evil.example").headers["location"] == "/"

    def test_the_console_proves_itself_and_its_code(self, console: Callable[..., Visitor], provider: Provider) -> None:
        visitor = console()
        address = asked(visitor)
        query = parse_qs(urlsplit(address).query)
        assert query["redirect_uri"] == [f"{HERE}/login/oidc/callback"]
        assert query["response_type"] == ["code"]
        assert {"state", "nonce", "code_challenge"} <= query.keys()
        came_back(visitor, provider.authorize(address))
        (request,) = provider.requests
        assert request["authorization"].startswith("Basic ")
        assert len(request["code_verifier"]) >= 43

    def test_the_cookie_from_before_it_is_worth_nothing(
        self, console: Callable[..., Visitor], provider: Provider
    ) -> None:
        visitor = console()
        before = provider.authorize(asked(visitor))
        planted = visitor.http.cookies[COOKIE]
        came_back(visitor, before)
        assert visitor.http.cookies[COOKIE] != planted
        visitor.http.cookies.clear()
        visitor.http.cookies.set(COOKIE, planted, domain="127.0.0.1")
        assert visitor.get("/").status_code == 303

    def test_logout_ends_it(self, console: Callable[..., Visitor], provider: Provider) -> None:
        visitor = console()
        log_in(visitor, provider)
        kept = visitor.http.cookies[COOKIE]
        assert visitor.send("/logout").headers["location"] == "/login"
        visitor.http.cookies.clear()
        visitor.http.cookies.set(COOKIE, kept, domain="127.0.0.1")
        assert visitor.get("/").status_code == 303

    def test_other_groups_in_the_settings_end_it(self, console: Callable[..., Visitor], provider: Provider) -> None:
        visitor = console()
        log_in(visitor, provider)
        kept = visitor.http.cookies[COOKIE]
        for groups, status in [("console-operators, admins", 200), ("admins", 303), ("console-operators, admins", 303)]:
            other = console(console_oidc_operator_groups=groups)
            other.http.cookies.set(COOKIE, kept, domain="127.0.0.1")
            assert other.get("/").status_code == status

    @pytest.mark.parametrize(
        ("person", "why"),
        [
            ("eve", "none of the groups"),
            ("groupless", "none of the groups"),
            ("odd", "none of the groups"),
            ("nameless", "does not name you"),
            ("long", "does not name you"),
        ],
    )
    def test_who_has_no_group_or_name_is_refused_in_a_sentence(
        self, console: Callable[..., Visitor], provider: Provider, person: str, why: str
    ) -> None:
        visitor = console()
        answer = log_in(visitor, provider, person)
        assert is_refused(visitor, answer)
        assert why in words(answer.text)


def change(**claims: Any) -> Callable[[Claims], None]:
    """Claims set to these values; None: left out."""

    def changed(given: Claims) -> None:
        given.update(claims)
        for name in [name for name, value in claims.items() if value is None]:
            del given[name]

    return changed


def unsigned(claims: Claims, _: RSAKey) -> str:
    return f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims)}."


def signed_by_another(claims: Claims, key: RSAKey) -> str:
    other = RSAKey.generate_key(2048).as_dict(private=True)
    return signed(claims, RSAKey.import_key({**other, "kid": str(key.kid)}))


def signed_with_the_public_key(claims: Claims, key: RSAKey) -> str:
    """As if what everybody can read were a shared secret."""
    told = f"{encoded({'alg': 'HS256', 'kid': key.kid})}.{encoded(claims)}"
    digest = hmac.digest(key.as_pem(private=False), told.encode(), "sha256")
    return f"{told}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def signature_of_another_token(claims: Claims, key: RSAKey) -> str:
    head, _, signature = signed(claims, key).split(".")
    return f"{head}.{encoded({**claims, 'groups': ['console-operators']})}.{signature}"


class TestAttacks:
    @pytest.mark.parametrize(
        "claims",
        some(
            [
                {"nonce": "another"},
                {"nonce": None},
                {"aud": "another-client"},
                {"aud": ["another-client"]},
                {"aud": None},
                {"aud": ["backmarket", "another-client"], "azp": "another-client"},
                {"aud": "another-client", "azp": "backmarket"},
                {"iss": "https://evil.example"},
                {"iss": None},
                {"exp": 1_000_000_000},
                {"exp": None},
                {"sub": None},
            ]
        ),
        ids=str,
    )
    def test_a_wrong_claim(self, console: Callable[..., Visitor], provider: Provider, claims: Claims) -> None:
        visitor = console()
        provider.change_claims = change(**claims)
        assert is_refused(visitor, log_in(visitor, provider))
        assert len(provider.answers) == 1, "the code was redeemed: it is the token that was refused"
        provider.change_claims = None
        assert log_in(visitor, provider).status_code == 303

    @pytest.mark.parametrize(
        "sign", [unsigned, signed_by_another, signed_with_the_public_key, signature_of_another_token]
    )
    @pytest.mark.parametrize("offered", [["RS256"], ["none", "HS256", "RS256"]], ids=["RS256", "none too"])
    def test_a_wrong_signature(
        self,
        console: Callable[..., Visitor],
        provider: Provider,
        sign: Callable[[Claims, RSAKey], str],
        offered: list[str],
    ) -> None:
        visitor = console()
        provider.change_metadata = lambda metadata: metadata.update({OFFERED: offered})
        provider.sign = sign
        assert is_refused(visitor, log_in(visitor, provider))
        assert len(provider.answers) == 1

    def test_no_id_token_but_unsigned_claims_beside_it(
        self, console: Callable[..., Visitor], provider: Provider
    ) -> None:
        def change_answer(answer: dict[str, Any]) -> None:
            del answer["id_token"]
            answer["userinfo"] = {"preferred_username": "eve", "groups": ["admins"]}

        visitor = console()
        provider.change_answer = change_answer
        assert is_refused(visitor, log_in(visitor, provider))
        assert len(provider.answers) == 1

    @pytest.mark.parametrize("state", ["another", "", None])
    def test_a_wrong_state(self, console: Callable[..., Visitor], provider: Provider, state: str | None) -> None:
        visitor = console()
        query = parse_qs(urlsplit(provider.authorize(asked(visitor))).query)
        code = {"code": query["code"][0]} | ({} if state is None else {"state": state})
        assert is_refused(visitor, visitor.get(f"/login/oidc/callback?{urlencode(code)}"))
        assert provider.requests == []

    def test_an_answer_for_another_browser(self, console: Callable[..., Visitor], provider: Provider) -> None:
        attacker, victim = console(), console()
        answer = provider.authorize(asked(attacker), "eve")
        asked(victim)
        assert is_refused(victim, came_back(victim, answer))
        assert provider.requests == []

    def test_a_code_used_twice(self, console: Callable[..., Visitor], provider: Provider) -> None:
        visitor = console()
        answer = provider.authorize(asked(visitor))
        cookies = dict(visitor.http.cookies)
        assert came_back(visitor, answer).status_code == 303
        visitor.send("/logout")
        assert is_refused(visitor, came_back(visitor, answer))
        assert len(provider.requests) == 1, "the state was used up"
        visitor.http.cookies.clear()
        for name, value in cookies.items():
            visitor.http.cookies.set(name, value, domain="127.0.0.1")
        assert is_refused(visitor, came_back(visitor, answer))
        assert (len(provider.requests), len(provider.answers)) == (2, 1), "the provider gives no second token"

    def test_a_code_of_another_login(self, console: Callable[..., Visitor], provider: Provider) -> None:
        """A stolen code in an answer with the right state: its verifier is in another browser."""
        thief, victim = console(), console()
        stolen = parse_qs(urlsplit(provider.authorize(asked(victim))).query)["code"][0]
        own = parse_qs(urlsplit(provider.authorize(asked(thief), "eve")).query)["state"][0]
        answer = thief.get(f"/login/oidc/callback?{urlencode({'code': stolen, 'state': own})}")
        assert is_refused(thief, answer)
        assert (len(provider.requests), provider.answers) == (1, [])

    def test_another_issuer(self, console: Callable[..., Visitor], provider: Provider) -> None:
        visitor = console()
        answer = provider.authorize(asked(visitor))
        assert is_refused(visitor, came_back(visitor, f"{answer}&iss=https%3A%2F%2Fevil.example"))
        provider.change_metadata = lambda metadata: metadata.update(issuer="https://evil.example")
        other = console()
        assert other.get("/login/oidc").status_code == 502
        provider.change_metadata = None
        assert log_in(other, provider).status_code == 303, "it is asked again"

    def test_odd_answers_are_no_errors_of_ours(self, console: Callable[..., Visitor], provider: Provider) -> None:
        visitor = console()
        for query in ("", "code=", "code=a&state=%00", "error=access_denied", "error=%0aevil&error_description=x",
                      "state[]=a&code[]=b", "code=" + "a" * 9000, "iss=a&iss=b"):  # fmt: skip
            asked(visitor)
            answer = visitor.get(f"/login/oidc/callback?{query}")
            assert answer.status_code == 403, query
            assert "evil" not in answer.text
        for change_metadata in (dict.clear, lambda m: m.update(authorization_endpoint=7)):
            provider.change_metadata = change_metadata
            assert console().get("/login/oidc").status_code == 502


class TestSecrets:
    def test_no_token_is_logged_stored_or_shown(
        self,
        console: Callable[..., Visitor],
        provider: Provider,
        shared_url: str,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        caplog.set_level(logging.DEBUG)
        visitor = console()
        answer = provider.authorize(asked(visitor))
        done = came_back(visitor, answer)
        page = visitor.get("/")
        (given,), (request,) = provider.answers, provider.requests
        secrets = [given["access_token"], given["id_token"], request["code_verifier"], SECRET,
                   request["authorization"].removeprefix("Basic ")]  # fmt: skip
        with open_connection(shared_url) as connection:
            rows = connection.execute("SELECT s::text FROM backmarket.console_sessions s").fetchall()
        assert len(rows) == 1
        said = capsys.readouterr()
        places = {
            "log": caplog.text + said.out + said.err,
            "our lines": said.out,
            "table": str(rows),
            "page": page.text + str(page.headers) + str(done.headers),
            "cookies": str(dict(visitor.http.cookies)),
        }
        assert "console.login" in places["log"]
        assert [name for name, text in places.items() if any(each in text for each in secrets)] == []
        del places["log"]  # there, the test's own browser tells the address with the code
        assert [name for name, text in places.items() if request["code"] in text] == []
        assert len(visitor.http.cookies) == 1, "what the login needed is gone"


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "fault"),
        [
            ({"console_oidc_client_id": ""}, "CONSOLE_OIDC_CLIENT_ID"),
            ({"console_oidc_client_secret": None}, "CONSOLE_OIDC_CLIENT_SECRET"),
            ({"console_url": None}, "CONSOLE_URL"),
            ({"console_oidc_operator_groups": "", "console_oidc_viewer_groups": ""}, "OPERATOR_GROUPS"),
        ],
        ids=["id", "secret", "url", "groups"],
    )
    def test_what_is_missing_is_named_at_the_start(
        self, console: Callable[..., Visitor], changes: dict[str, Any], fault: str
    ) -> None:
        with pytest.raises(SettingsError, match=fault):
            console(**changes)

    @pytest.mark.parametrize("issuer", ["http://login.example", "login.example", "https://a@login.example", "https://"])
    def test_an_issuer_has_tls_or_is_here(self, issuer: str) -> None:
        with pytest.raises(ValidationError, match="console_oidc_issuer"):
            fresh_settings(console_oidc_issuer=issuer)

    def test_without_it_there_is_no_such_login(self, opened: Open) -> None:
        visitor = opened()
        for path in ("/login/oidc", "/login/oidc/callback?code=a&state=b"):
            assert visitor.get(path).headers["location"] == "/login"
        assert "Log in with" not in visitor.get("/login").text
