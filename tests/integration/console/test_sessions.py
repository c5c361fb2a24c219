"""Sessions of the console: rows that outlive a process, end for good, and cannot be made by a cookie."""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backmarket.console.app import COOKIE
from backmarket.database import Database, console_sessions
from backmarket.errors import DatabaseUnavailable
from backmarket.standalone.embedded.ports import free_ports
from tests.support.console import OPERATOR, PASSWORD, VIEWER, Open, Visitor, words
from tests.support.databases import as_process, open_connection
from tests.support.waiting import PATIENCE_SECONDS, wait_until

NEXT_PAGE = f"{COOKIE}_next_page"


def with_cookie(visitor: Visitor, value: str, name: str = COOKIE) -> Visitor:
    """The visitor, with this cookie alone."""
    visitor.http.cookies.clear()
    visitor.http.cookies.set(name, value, domain="127.0.0.1")
    return visitor


def is_let_in(visitor: Visitor) -> bool:
    """Whether the first page is shown; otherwise the login has to be."""
    answer = visitor.get("/")
    assert answer.status_code in {200, 303}, answer.text
    return bool(answer.status_code == 200)


def logged_in(visitor: Visitor, name: str = "anna", password: str = PASSWORD) -> str:
    """Log in; the cookie."""
    assert visitor.log_in(name, password).status_code == 303
    return str(visitor.http.cookies[COOKIE])


class TestProcesses:
    def test_a_session_outlives_a_restart_and_one_that_was_logged_out_does_not(self, opened: Open) -> None:
        first, second = opened(), opened()
        ended, open_one = logged_in(first), logged_in(second, "otto")
        assert first.send("/logout").headers["location"] == "/login"
        for visitor in (first, second):
            visitor.close()
        again = opened()
        assert not is_let_in(with_cookie(again, ended))
        assert is_let_in(with_cookie(again, open_one))

    def test_two_processes_know_the_same_sessions(self, opened: Open) -> None:
        one, other = opened(), opened()
        cookie = logged_in(one)
        assert is_let_in(with_cookie(other, cookie))
        form = {"csrf": other.token()}
        assert one.http.post("/connect", data=form).status_code != 403
        other.send("/logout")
        assert not is_let_in(with_cookie(one, cookie))

    def test_a_message_for_the_next_page_may_be_shown_by_another_process(self, opened: Open) -> None:
        one, other = opened(), opened()
        logged_in(one)
        connected = one.send("/connect", organization="shop-1", api_key="k", environment="production", region="EU")
        assert "httponly" in connected.headers["set-cookie"]
        other.http.cookies.update(one.http.cookies)
        said = 'class="said"'
        assert said in other.get(connected.headers["location"]).text
        assert said not in other.get(connected.headers["location"]).text


class TestEnds:
    def test_it_ends_with_its_hours_and_the_upkeep_removes_it(self, opened: Open, shared_url: str) -> None:
        visitor = opened(console_session_hours=1)
        visitor.bm.end_console_sessions()
        cookie = logged_in(visitor)
        assert "max-age=3600" in opened(console_session_hours=1).log_in().headers["set-cookie"]
        with open_connection(shared_url) as connection:
            left = "SELECT max(extract(epoch FROM expires_at - now()))::float8 FROM backmarket.console_sessions"
            (seconds,) = connection.execute(left).fetchone() or (0,)
            assert 3500 < seconds <= 3600
            connection.execute("UPDATE backmarket.console_sessions SET expires_at = now() - interval '1 s'")
        assert visitor.bm.get_console_sessions() == []
        assert not is_let_in(with_cookie(visitor, cookie))
        worker = Database(as_process(shared_url, "worker"))
        assert console_sessions.drop_expired(worker) == 1, "the other was dropped when its cookie came"
        worker.close()

    def test_it_ends_when_it_is_not_used_and_what_a_page_refreshes_is_no_use(
        self, opened: Open, shared_url: str
    ) -> None:
        visitor = opened(console_session_idle_minutes=10)
        visitor.bm.end_console_sessions()
        cookie = logged_in(visitor)

        def left(older: int) -> float:
            """Let the session be unused for some seconds; how many it would last then."""
            moved = (
                "UPDATE backmarket.console_sessions SET last_seen_at = last_seen_at - make_interval(secs => %s),"
                " expires_at = expires_at - make_interval(secs => %s)"
            )
            with open_connection(shared_url) as connection:
                connection.execute(moved, (older, older))
            visitor.get("/", **headers)
            with open_connection(shared_url) as connection:
                read = "SELECT extract(epoch FROM expires_at - now())::float8 FROM backmarket.console_sessions"
                (seconds,) = connection.execute(read).fetchone() or (0,)
            return float(seconds)

        headers = {"HX-Request": "true"}
        assert 400 < left(120) <= 480
        headers = {}
        assert 500 < left(120) <= 600
        assert 500 < left(30) <= 570, "it is written once a minute"
        with open_connection(shared_url) as connection:
            connection.execute("UPDATE backmarket.console_sessions SET created_at = now() - interval '11 h 59 min'")
        assert 0 < left(120) <= 60, "its hours end it, however much it is used"
        with open_connection(shared_url) as connection:
            connection.execute("UPDATE backmarket.console_sessions SET expires_at = now()")
        assert not is_let_in(with_cookie(visitor, cookie))

    def test_an_open_page_follows_changes_no_longer_than_its_session(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("backmarket.console.app.CHECK_SECONDS", 0.0)
        monkeypatch.setattr("backmarket.console.sse.BREATH_SECONDS", 0.1)
        visitor = opened()
        logged_in(visitor)
        with ThreadPoolExecutor(1) as pool:
            page = pool.submit(visitor.get, "/events")
            wait_until(lambda: visitor.app.state.events._readers, "the page follows")
            assert visitor.bm.end_console_sessions("anna") == 1
            assert page.result(PATIENCE_SECONDS).text.startswith("retry:")
        wait_until(lambda: not visitor.app.state.events._readers, "nobody follows")

    @pytest.mark.parametrize("other", [OPERATOR.replace("anna:operator", "anna:viewer"), VIEWER], ids=["role", "gone"])
    def test_another_role_ends_it_for_good(self, opened: Open, other: str) -> None:
        cookie = logged_in(opened())
        assert is_let_in(with_cookie(opened(console_users=(OPERATOR,)), cookie))
        assert not is_let_in(with_cookie(opened(console_users=(other,)), cookie))
        assert not is_let_in(with_cookie(opened(), cookie)), "the old settings bring nothing back"

    def test_another_password_ends_it_and_the_same_one_does_not(self, opened: Open) -> None:
        alone: dict[str, Any] = {"console_users": ()}
        cookie = logged_in(opened(console_password=PASSWORD, **alone), "admin")
        assert is_let_in(with_cookie(opened(console_password=PASSWORD, **alone), cookie))
        assert not is_let_in(with_cookie(opened(console_password=f"{PASSWORD}!", **alone), cookie))

    def test_by_person_and_all(self, opened: Open) -> None:
        visitor = opened()
        visitor.bm.end_console_sessions()
        anna, otto = logged_in(visitor), logged_in(with_cookie(visitor, ""), "otto")
        assert [(each.person, each.role) for each in visitor.bm.get_console_sessions()] == [
            ("otto", "viewer"), ("anna", "operator"),
        ]  # fmt: skip
        assert visitor.bm.end_console_sessions("anna") == 1
        assert not is_let_in(with_cookie(visitor, anna))
        assert is_let_in(with_cookie(visitor, otto))
        assert visitor.bm.end_console_sessions() == 1
        assert not is_let_in(with_cookie(visitor, otto))


class TestCookies:
    def test_one_from_before_the_login_is_worth_nothing_after_it(self, opened: Open) -> None:
        """An attacker who sets the victim's cookie knows it; the login must not make it a session."""
        visitor = opened()
        planted = secrets.token_urlsafe(32)
        assert logged_in(with_cookie(visitor, planted)) != planted
        assert not is_let_in(with_cookie(opened(), planted))

    def test_a_login_ends_the_session_before_it(self, opened: Open) -> None:
        visitor, attacker = opened(), opened()
        planted = logged_in(attacker, "otto")
        form = {"csrf": attacker.token(), "name": "anna", "password": PASSWORD}
        assert with_cookie(visitor, planted).http.post("/login", data=form).status_code == 303
        assert is_let_in(visitor)
        assert not is_let_in(with_cookie(attacker, planted))

    def test_a_made_up_or_damaged_one_opens_nothing(self, opened: Open) -> None:
        visitor = opened()
        right = logged_in(visitor)
        odd = ["", "x", right[:-1], right + "a", right.swapcase(), right + "\u00e9", '"' + right, "A" * 43,
               "A" * 15_000, "%00" * 14, "eyJuYW1lIjoiYW5uYSJ9.aaaa.bbbb", "'; DROP TABLE", "\x80\xff"]  # fmt: skip
        for value in odd:
            visitor.http.cookies.clear()
            for path in ("/", "/login", "/nowhere"):
                answer = visitor.http.get(path, headers=[(b"cookie", f"{COOKIE}={value}".encode("latin-1"))])
                assert answer.status_code == {"/": 303, "/login": 200, "/nowhere": 404}[path], value
        assert is_let_in(with_cookie(visitor, right))

    def test_what_the_next_page_shows_can_not_be_made_up(self, opened: Open) -> None:
        visitor, other = opened(), opened()
        logged_in(visitor)
        logged_in(other)
        other.send("/connect", organization="shop-1", api_key="k", environment="production", region="EU")
        for value in ("", "e30.aaaa.bbbb", "." * 4000, "\x80", other.http.cookies[NEXT_PAGE]):
            header = f"{COOKIE}={visitor.http.cookies[COOKIE]}; {NEXT_PAGE}={value}".encode("latin-1")
            answer = visitor.http.get("/", headers=[(b"cookie", header)])
            assert answer.status_code == 200
            assert 'class="said"' not in answer.text

    def test_only_its_hash_is_stored(self, opened: Open, shared_url: str) -> None:
        visitor = opened()
        visitor.bm.end_console_sessions()
        cookie = logged_in(visitor)
        with open_connection(shared_url) as connection:
            (row,) = connection.execute("SELECT token_hash, s::text FROM backmarket.console_sessions s").fetchall()
        assert row[0] == hashlib.sha256(cookie.encode()).digest()
        assert cookie not in row[1]
        assert PASSWORD not in row[1]


class TestCost:
    def test_a_page_costs_one_statement_and_what_is_no_page_none(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        visitor = opened()
        logged_in(visitor)
        used: list[str] = []
        use = console_sessions.use

        def counted(*given: Any, **how: Any) -> Any:
            used.append(given[1])
            return use(*given, **how)

        monkeypatch.setattr(console_sessions, "use", counted)
        pages = {"/": 1, "/nowhere": 1, "/o/shop-1/orders/abc": 1}
        for path, statements in {**pages, "/health": 0, "/static/console.css": 0, "/static/x": 0}.items():
            used.clear()
            visitor.get(path)
            assert len(used) == statements, path
        used.clear()
        visitor.http.cookies.clear()
        assert visitor.get("/").status_code == 303
        assert used == [], "without a cookie there is nothing to ask for"

    def test_last_seen_is_written_once_a_minute(self, opened: Open, shared_url: str) -> None:
        visitor = opened()
        visitor.bm.end_console_sessions()
        logged_in(visitor)
        seen = []
        for older in (0, 50, 61):
            with open_connection(shared_url) as connection:
                connection.execute(
                    "UPDATE backmarket.console_sessions SET last_seen_at = now() - make_interval(secs => %s)", (older,)
                )
            visitor.get("/")
            with open_connection(shared_url) as connection:
                read = "SELECT extract(epoch FROM now() - last_seen_at) FROM backmarket.console_sessions"
                (ago,) = connection.execute(read).fetchone() or (0,)
                seen.append(ago < 45)
        assert seen == [True, False, True]


class TestOutage:
    def test_a_session_that_can_not_be_read_lets_no_person_in(self, opened: Open, shared_url: str) -> None:
        visitor, stranger = opened(), opened()
        logged_in(visitor)
        form = {"csrf": visitor.token()}
        login = {"csrf": stranger.token("/login"), "name": "anna", "password": PASSWORD}
        with open_connection(shared_url) as connection:
            connection.execute("ALTER TABLE backmarket.console_sessions RENAME TO away")
        try:
            answers = [visitor.get("/"), visitor.get("/login"), visitor.get("/events"),
                       visitor.http.post("/connect", data=form), visitor.http.post("/logout", data=form),
                       stranger.http.post("/login", data=login)]  # fmt: skip
        finally:
            with open_connection(shared_url) as connection:
                connection.execute("ALTER TABLE backmarket.away RENAME TO console_sessions")
        assert {each.status_code for each in answers} == {503}
        assert all("cannot check who you are" in words(each.text) for each in answers)
        assert all("anna" not in each.text and "away" not in each.text for each in answers)
        assert is_let_in(visitor), "it was neither ended nor forgotten"
        assert not is_let_in(stranger)

    def test_without_postgresql_there_is_a_page_that_says_so(
        self, opened: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        visitor = opened()
        logged_in(visitor)
        away = Database(f"postgresql://127.0.0.1:{free_ports(1)[0]}/none", timeout=0.1)
        monkeypatch.setattr(visitor.bm._services, "database", away)
        with pytest.raises(DatabaseUnavailable):
            visitor.bm.get_console_sessions()
        refused = visitor.get("/")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        assert "PostgreSQL is unreachable" in words(refused.text)
        assert [visitor.get(path).status_code for path in ("/health", "/static/console.css")] == [200, 200]
        visitor.http.cookies.clear()
        form = {"csrf": visitor.token("/login"), "name": "anna", "password": PASSWORD}
        assert visitor.http.post("/login", data=form).status_code == 503
        away.close()
