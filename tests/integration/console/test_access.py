"""Who may use the console: what is refused to strangers, to those who look, and to forms that are not ours."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from starlette.routing import Route

from backmarket.console.access import passwords
from backmarket.console.access.auth import TRIES_OF_AN_ADDRESS
from backmarket.console.access.users import Role, as_setting, users_of
from backmarket.console.app import COOKIE
from backmarket.console.headers import CONTENT_SECURITY_POLICY
from backmarket.console.pages import login
from backmarket.console.server import check_reach
from backmarket.errors import SettingsError
from backmarket.settings import Settings
from tests.support.console import OPERATOR, PASSWORD, VIEWER, Open, Visitor, words
from tests.support.settings import fresh_settings

ORG = "shop-1"
OPEN = {"/login", "/logout", "/health"}
PLACES = {
    "organization": ORG, "order": "1", "line": "1", "resource": "deliveries", "shipment": "1", "job": "1", "part": "1",
    "write": "1", "listing": "1", "endpoint": "1",
}  # fmt: skip


def paths(visitor: Visitor, method: str) -> list[str]:
    """Every address of the console, of one method, with something in each place."""
    found = [each for each in visitor.app.routes if isinstance(each, Route) and method in (each.methods or ())]
    return [each.path.format(**PLACES) for each in found if each.path not in OPEN]


class TestStart:
    def test_without_a_password_or_a_proxy_it_does_not(self, opened: Open) -> None:
        with pytest.raises(SettingsError, match="does not start without a password or an authenticating proxy"):
            opened(console_users=())

    def test_a_header_that_anybody_could_send_is_no_proxy(self, opened: Open) -> None:
        with pytest.raises(SettingsError, match="CONSOLE_PROXY_ADDRESSES"):
            opened(console_users=(), console_proxy_user_header="X-Forwarded-User")

    @pytest.mark.parametrize(
        "user",
        [
            "anna",
            "anna:operator",
            "anna:rules:" + OPERATOR.partition("operator:")[2],
            "anna:operator:secret",
            ":" + OPERATOR,
        ],
        ids=["no role", "no hash", "another role", "no scrypt", "no name"],
    )
    def test_a_user_that_is_none_is_named_by_its_place_and_not_shown(self, opened: Open, user: str) -> None:
        with pytest.raises(SettingsError, match="Entry 2 of BACKMARKET_CONSOLE_USERS") as refused:
            opened(console_users=(VIEWER, user))
        assert user not in str(refused.value)

    @pytest.mark.parametrize(("old", "new"), [("look", "viewer"), ("act", "operator")])
    def test_an_old_role_is_refused_with_its_new_name(self, opened: Open, old: str, new: str) -> None:
        with pytest.raises(SettingsError, match=f"Entry 1 of .* the role {old}, which is {new} now"):
            opened(console_users=(VIEWER.replace(":viewer:", f":{old}:"),))

    def test_a_password_alone_is_that_of_admin(self, opened: Open) -> None:
        visitor = opened(console_users=(), console_password=PASSWORD)
        assert visitor.log_in("admin", "another one").status_code == 401
        assert visitor.log_in("admin").status_code == 303
        assert ">viewer<" not in visitor.get("/").text
        with pytest.raises(SettingsError, match="10 characters"):
            opened(console_users=(), console_password="short")

    def test_one_user_twice_is_refused(self, opened: Open) -> None:
        with pytest.raises(SettingsError, match="'anna' twice"):
            opened(console_users=(OPERATOR, OPERATOR))

    @pytest.mark.parametrize(
        ("host", "url", "fault"),
        [
            ("0.0.0.0", None, "CONSOLE_URL"),
            ("0.0.0.0", "http://console.example", "https"),
            ("127.0.0.1", "http://console.example", "https"),
            ("127.0.0.1", None, None),
            ("::1", None, None),
            ("0.0.0.0", "https://console.example", None),
            ("0.0.0.0", "http://localhost:8600", None),
        ],
    )
    def test_passwords_travel_encrypted_or_stay_on_this_machine(
        self, host: str, url: str | None, fault: str | None
    ) -> None:
        settings = Settings(console_url=url)
        if fault is None:
            check_reach(settings, host)
        else:
            with pytest.raises(SettingsError, match=fault):
                check_reach(settings, host)

    def test_another_host_name_is_not_answered(self, opened: Open) -> None:
        assert opened(url="http://rebound.example").get("/login").status_code == 400
        assert opened(url="https://console.example", console_url="https://console.example").get("/login").is_success


class TestStrangers:
    def test_see_no_page(self, opened: Open) -> None:
        visitor = opened()
        answers = {path: visitor.get(path) for path in paths(visitor, "GET")}
        assert len(answers) > 12
        assert {path for path, each in answers.items() if each.status_code != 303} == {"/events"}
        assert answers["/events"].status_code == 401
        assert answers["/o/shop-1/orders"].headers["location"] == "/login?next=%2Fo%2Fshop-1%2Forders"

    def test_do_nothing(self, opened: Open) -> None:
        visitor = opened()
        token = visitor.token("/login")
        answers = {path: visitor.http.post(path, data={"csrf": token}) for path in paths(visitor, "POST")}
        assert len(answers) > 15
        assert {(each.status_code, each.headers["location"]) for each in answers.values()} == {(303, "/login?next=%2F")}

    def test_a_part_of_a_page_leads_the_whole_one_to_the_login(self, opened: Open) -> None:
        answer = opened().get("/", **{"HX-Request": "true"})
        assert (answer.status_code, answer.headers["hx-refresh"]) == (204, "true")


class TestLogin:
    def test_a_wrong_password_or_name_is_refused_alike(self, opened: Open) -> None:
        visitor = opened()
        refused = [visitor.log_in("anna", "wrong"), visitor.log_in("nobody", PASSWORD), visitor.log_in("anna", "")]
        assert {each.status_code for each in refused} == {401}
        assert len({re.search(r'role="alert">([^<]*)', each.text)[1] for each in refused}) == 1  # type: ignore[index]
        assert visitor.get("/").status_code == 303

    def test_the_right_one_leads_where_it_was_wanted(self, opened: Open) -> None:
        visitor = opened()
        done = visitor.log_in(next="/o/shop-1/orders?state=1")
        assert (done.status_code, done.headers["location"]) == (303, "/o/shop-1/orders?state=1")
        assert visitor.get("/").status_code == 200

    @pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil", ""])
    def test_and_never_elsewhere(self, opened: Open, wanted: str) -> None:
        assert opened().log_in(next=wanted).headers["location"] == "/"

    def test_needs_our_own_form(self, opened: Open) -> None:
        visitor = opened()
        visitor.get("/login")
        answer = visitor.http.post("/login", data={"name": "anna", "password": PASSWORD})
        assert answer.status_code == 403
        assert visitor.get("/").status_code == 303

    def test_failures_make_an_address_wait_and_no_other(self, opened: Open) -> None:
        visitor = opened(console_proxy_addresses="127.0.0.1")
        form = {"csrf": visitor.token("/login"), "name": "nobody", "password": "wrong"}
        for _ in range(TRIES_OF_AN_ADDRESS):
            visitor.app.state.auth._of_address.reserve("198.51.100.7")
        forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
        waits = visitor.http.post("/login", data=form | {"name": "anna", "password": PASSWORD}, headers=forwarded)
        assert waits.status_code == 429
        assert 0 < int(waits.headers["retry-after"]) <= 600
        others = visitor.http.post("/login", data=form, headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"})
        assert others.status_code == 401
        assert visitor.http.post("/login", data=form).status_code == 401

    def test_every_failure_counts(self, opened: Open) -> None:
        visitor = opened()
        for _ in range(TRIES_OF_AN_ADDRESS - 1):
            visitor.app.state.auth._of_address.reserve("127.0.0.1")
        assert visitor.log_in("anna", "wrong").status_code == 401
        assert visitor.log_in("anna").status_code == 429

    def test_many_at_once_are_compared_as_often_as_one_after_the_other(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        visitor = opened()
        compared: list[str] = []
        matches = passwords.matches

        def counted(given: str, kept: str) -> bool:
            compared.append(given)
            return matches(given, kept)

        monkeypatch.setattr(passwords, "matches", counted)
        form = {"csrf": visitor.token("/login"), "name": "nobody"}
        with ThreadPoolExecutor(60) as pool:
            guesses = [pool.submit(visitor.http.post, "/login", data=form | {"password": str(n)}) for n in range(60)]
        answers = Counter(each.result().status_code for each in guesses)
        assert set(answers) <= {401, 429, 503}
        assert answers[401] == len(compared) == TRIES_OF_AN_ADDRESS
        assert visitor.log_in().status_code == 429

    def test_the_queue_of_comparisons_has_an_end(self, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        visitor = opened()
        monkeypatch.setattr(login, "MAX_TRIES_WAITING", 0)
        assert visitor.log_in().status_code == 503
        monkeypatch.undo()
        assert visitor.log_in().status_code == 303

    def test_all_addresses_of_a_host_are_one(self, opened: Open) -> None:
        visitor = opened(console_proxy_addresses="127.0.0.1")
        form = {"csrf": visitor.token("/login"), "name": "nobody", "password": "wrong"}
        by = [f"2001:db8:0:1::{number:x}" for number in range(TRIES_OF_AN_ADDRESS + 1)]
        answers = [visitor.http.post("/login", data=form, headers={"X-Forwarded-For": each}).status_code for each in by]
        assert answers == [401] * TRIES_OF_AN_ADDRESS + [429]
        assert visitor.http.post("/login", data=form, headers={"X-Forwarded-For": "2001:db8:0:2::1"}).status_code == 401

    def test_a_login_of_ones_own_buys_no_guesses_at_others(self, opened: Open) -> None:
        visitor = opened()
        for _ in range(TRIES_OF_AN_ADDRESS - 1):
            assert visitor.log_in("otto", "wrong").status_code == 401
        assert visitor.log_in("anna").status_code == 303
        assert visitor.send("/logout").status_code == 303
        assert visitor.log_in("otto", "wrong").status_code == 401
        assert visitor.log_in("otto", "wrong").status_code == 429


class TestSessions:
    def test_the_cookie_is_kept_from_scripts_and_other_sites(self, opened: Open) -> None:
        plain = opened().log_in().headers["set-cookie"]
        assert plain.startswith(f"{COOKIE}=")
        assert "httponly" in plain
        assert "samesite=lax" in plain
        assert "secure" not in plain
        safe = opened(url="https://console.example", console_url="https://console.example").log_in()
        assert "; secure" in safe.headers["set-cookie"]
        assert "; path=/;" in safe.headers["set-cookie"]
        assert "domain" not in safe.headers["set-cookie"]
        assert safe.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
        assert safe.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"

    def test_a_new_one_begins_with_the_login(self, opened: Open) -> None:
        visitor = opened()
        before = visitor.token("/login")
        visitor.log_in()
        assert visitor.token("/") != before

    def test_after_the_logout_a_kept_cookie_opens_nothing(self, opened: Open) -> None:
        visitor = opened()
        visitor.log_in()
        kept = visitor.http.cookies[COOKIE]
        assert visitor.send("/logout").headers["location"] == "/login"
        assert visitor.get("/").status_code == 303
        visitor.http.cookies.clear()
        visitor.http.cookies.set(COOKIE, kept)
        assert visitor.get("/").status_code == 303


class TestForms:
    def test_without_our_token_nothing_is_done(self, opened: Open) -> None:
        visitor = opened()
        visitor.log_in()
        other = opened()
        other.log_in()
        for token in (None, "", "wrong", other.token()):
            form = {} if token is None else {"csrf": token}
            answers = {path: visitor.http.post(path, data=form).status_code for path in paths(visitor, "POST")}
            assert set(answers.values()) == {403}, answers

    @pytest.mark.parametrize(
        "headers",
        [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}],
    )
    def test_from_another_site_nothing_is_done(self, opened: Open, headers: dict[str, str]) -> None:
        visitor = opened()
        visitor.log_in()
        form = {"csrf": visitor.token(), "organization": ORG, "api_key": "key", "environment": "production"}
        assert visitor.http.post("/connect", data=form, headers=headers).status_code == 403
        assert visitor.bm.get_connections() == []

    def test_the_token_may_be_a_header(self, opened: Open) -> None:
        visitor = opened()
        visitor.log_in()
        form = {"organization": ORG, "api_key": "key", "environment": "production", "region": "EU"}
        done = visitor.http.post("/connect", data=form, headers={"X-CSRF-Token": visitor.token()})
        assert done.headers["location"] == f"/o/{ORG}"

    def test_a_form_that_is_too_large_is_not_read(self, opened: Open) -> None:
        visitor = opened()
        visitor.log_in()
        large = visitor.send("/connect", organization=ORG, api_key="k" * 300_000)
        assert (large.status_code, "too large" in large.text) == (413, True)
        endless = visitor.http.post("/connect", content=iter([b"organization=a"]))
        assert endless.status_code == 413


class TestRoles:
    def test_who_looks_sees_every_page_and_does_nothing(self, opened: Open) -> None:
        visitor = opened()
        visitor.bm.upsert_connection(ORG, "key")
        visitor.log_in("otto")
        token = visitor.token()
        answers = {path: visitor.http.post(path, data={"csrf": token}) for path in paths(visitor, "POST")}
        assert answers.pop("/find").status_code == 303, "a search changes nothing"
        assert {each.status_code for each in answers.values()} == {403}
        assert all("needs the role operator" in each.text for each in answers.values())
        for path in ["/", *(f"/o/{ORG}{each}" for each in ("", "/orders", "/listings", "/bulk", "/writes"))]:
            page = visitor.get(path)
            assert page.status_code == 200
            forms = re.findall(r'<form[^>]*method="post"[^>]*>', page.text)
            assert [re.findall('action="(.*?)"', form) for form in forms] == [["/find"], ["/logout"]]
            assert "hx-post" not in page.text


class TestProxy:
    SETTINGS: ClassVar[dict[str, Any]] = {
        "console_users": (),
        "console_proxy_user_header": "X-Forwarded-User",
        "console_proxy_addresses": "10.0.0.0/8, ::1",
    }

    def test_says_who_the_user_is_and_by_their_groups_what_they_may(self, opened: Open) -> None:
        visitor = opened(address="10.1.2.3", **self.SETTINGS)
        visitor.http.headers["X-Forwarded-User"] = "Anna <b>A</b>"
        page = visitor.get("/")
        assert page.status_code == 200
        assert ">viewer<" in page.text
        assert "<b>" not in page.text.partition('class="who"')[2].partition("</span>")[0]
        visitor.http.headers["X-Forwarded-Groups"] = "staff, backmarket-operator"
        assert ">viewer<" not in visitor.get("/").text
        assert visitor.send("/connect", page="/connect", organization=ORG, api_key="k", environment="production",
                            region="EU").status_code == 303  # fmt: skip

    def test_is_believed_at_its_own_address_alone(self, opened: Open) -> None:
        for address in ("192.0.2.1", "127.0.0.1"):
            visitor = opened(address=address, **self.SETTINGS)
            answer = visitor.get("/", **{"X-Forwarded-User": "anna", "X-Forwarded-Groups": "backmarket-operator",
                                         "X-Forwarded-For": "10.0.0.1"})  # fmt: skip
            assert (answer.status_code, "Log in at the proxy" in answer.text) == (403, True)

    def test_has_to_name_one_person(self, opened: Open) -> None:
        visitor = opened(address="::ffff:10.1.2.3", **self.SETTINGS)
        named = [[("X-Forwarded-User", "anna")], [], [("X-Forwarded-User", "")], [("X-Forwarded-User", "a")] * 2]
        assert [visitor.http.get("/", headers=each).status_code for each in named] == [200, 403, 403, 403]

    def test_groups_of_two_headers_are_those_of_nobody(self, opened: Open) -> None:
        visitor = opened(address="10.1.2.3", **self.SETTINGS)
        groups = [("X-Forwarded-Groups", "staff"), ("X-Forwarded-Groups", "backmarket-operator")]
        assert visitor.http.get("/", headers=[("X-Forwarded-User", "anna"), *groups]).status_code == 403

    def test_a_form_of_one_person_is_no_other_persons(self, opened: Open) -> None:
        visitor = opened(address="10.1.2.3", **self.SETTINGS)
        visitor.http.headers.update({"X-Forwarded-User": "anna", "X-Forwarded-Groups": "backmarket-operator"})
        form = {"csrf": visitor.token("/connect"), "organization": ORG, "api_key": "k", "environment": "production"}
        visitor.http.headers["X-Forwarded-User"] = "eve"
        assert visitor.http.post("/connect", data=form).status_code == 403
        assert visitor.bm.get_connections() == []

    @pytest.mark.parametrize("wide", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "10.0.0.1, 2000::/3", "8.0.0.0/7"])
    def test_strangers_are_no_proxy(self, wide: str) -> None:
        with pytest.raises(ValidationError, match="name your proxies alone"):
            fresh_settings(console_proxy_addresses=wide)


class TestHeaders:
    def test_every_answer_is_told_to_load_nothing_from_elsewhere(self, opened: Open) -> None:
        visitor = opened()
        visitor.log_in()
        for path in ["/", "/login", "/nowhere", "/static/console.css", "/o/nobody", "/health"]:
            headers = visitor.get(path).headers
            assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            assert "unsafe" not in headers["content-security-policy"]
            assert {"object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(
                headers["content-security-policy"].split("; ")
            )
            assert headers["referrer-policy"] == "same-origin"
            assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
            assert ("no-store" in headers["cache-control"]) != path.startswith("/static/")

    def test_what_is_served_asks_nothing_of_elsewhere(self, opened: Open) -> None:
        visitor = opened()
        script = visitor.get("/static/htmx.min.js")
        assert script.headers["content-type"].startswith("text/javascript")
        for name in ("console.js", "console.css"):
            assert "://" not in visitor.get(f"/static/{name}").text
        for path in ("/static/../app.py", "/static/%2e%2e/app.py"):
            assert visitor.get(path).status_code in {303, 404}

    def test_a_page_that_is_not_there_says_so(self, opened: Open) -> None:
        visitor = opened()
        visitor.log_in()
        for path in ("/nowhere", "/o/nobody", "/o/~AAAA", "/o/shop-1/orders/abc", "/o/shop-1/bulk/9"):
            answer = visitor.get(path)
            assert answer.status_code == 404
            assert "Not found" in words(answer.text)
        assert "No organization with this id is connected here." in words(visitor.get("/o/nobody").text)


def test_a_password_is_kept_as_a_hash_that_differs_each_time() -> None:
    first, second = passwords.hashed(PASSWORD), passwords.hashed(PASSWORD)
    assert first != second
    assert PASSWORD not in first
    assert re.fullmatch(r"[\w:-]+", first)
    assert [passwords.matches(PASSWORD, each) for each in (first, second, "", "scrypt:1:1:1:a:b")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not passwords.matches("Correct horse battery", first)
    with pytest.raises(SettingsError, match="10 characters"):
        passwords.hashed("short")


@pytest.mark.parametrize(
    "password",
    [
        "aaaaaaaaaa",
        "password123",
        "qwertyuiop",
        "1234567890",
        "backmarket1",
        "Backmarket2026",
        "iloveyou123",
        "annaannaanna",
    ],
)
def test_a_password_that_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(SettingsError, match="easy to guess") as refused:
        as_setting("anna", Role.OPERATOR, password)
    assert password not in str(refused.value)
    with pytest.raises(SettingsError, match="easy to guess"):
        users_of(fresh_settings(console_password=password))
