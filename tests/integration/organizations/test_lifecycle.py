"""Connections: who may be asked, with which key, where; and what is left when one changes or goes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, Event
from time import monotonic
from typing import Any

import pytest
from psycopg import sql

from backmarket import BackMarket, connections
from backmarket.client import HOSTS, LOCALES
from backmarket.connections import Account
from backmarket.database.encryption import KeyCipher
from backmarket.errors import (
    ApiKeyMissing,
    BackMarketError,
    ConnectionDisabled,
    ConnectionNotFound,
    ConnectionUnauthorized,
    EnvironmentMismatch,
    InvalidArgument,
    SettingsError,
)
from backmarket.organizations import lifecycle
from backmarket.sandbox.control.client import SandboxControl
from backmarket.services import Services
from backmarket.settings import Settings
from backmarket.sync.engine import SliceResult, run_slice
from tests.support.databases import empty, open_connection
from tests.support.gate import Gate, Reply, listed
from tests.support.sellers import Shop, let_time_pass
from tests.support.settings import fresh_settings
from tests.support.waiting import PATIENCE_SECONDS

KEY = "bm-key-3f9a17c2"
_numbers = itertools.count(1)


@pytest.fixture
def database_url(shared_url: str) -> str:
    empty(shared_url)
    return shared_url


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return fresh_settings(
        database_url=database_url,
        redis_url=redis_url,
    )


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    services = Services(settings)
    yield services
    services.close()


@pytest.fixture
def bm(settings: Settings) -> Iterator[BackMarket]:
    with BackMarket(settings) as bm:
        yield bm


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl) -> Iterator[Shop]:
    sandbox.remove_faults()
    shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox)
    yield shop
    shop.services.close()


@pytest.fixture
def org() -> str:
    """An organization, and a seller, that no other test knows."""
    return f"auth0|{next(_numbers)}"


Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    with open_connection(database_url, autocommit=True) as connection:

        def query(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

        yield query


def left_over(query: Query, organization: str) -> dict[str, int]:
    """Rows of an organization in each table that has any, whatever tables there are; the audit trail outlives it."""
    tables = query(
        "SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE a.attname = 'organization_id' AND c.relnamespace = 'backmarket'::regnamespace"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'audit'"
    )
    assert {("connections",), ("orders",), ("walk_seen",), ("changes",)} <= set(tables)
    counts = {}
    for (table,) in tables:
        ((count,),) = query(
            sql.SQL("SELECT count(*) FROM backmarket.{} WHERE organization_id = %s")
            .format(sql.Identifier(table))
            .as_string(),
            organization,
        )
        if count:
            counts[table] = count
    return counts


def key_of(services: Services, organization: str, **options: Any) -> str:
    found, _ = connections.credentials(
        services.database, services.key_cipher, services.settings, organization, **options
    )
    return found.api_key


def until(query: Query, condition: str) -> None:
    """Return when a condition holds in PostgreSQL."""
    query(f"SET statement_timeout = '{int(PATIENCE_SECONDS)}s'")
    query(
        f"DO $$ BEGIN WHILE NOT ({condition}) LOOP PERFORM pg_stat_clear_snapshot(), pg_sleep(0.005); END LOOP; END $$"
    )


class TestKeysAtRest:
    def test_the_stored_bytes_do_not_contain_the_key(self, bm: BackMarket, query: Query) -> None:
        bm.upsert_connection("shop", KEY)
        (row,) = query("SELECT c::text, encode(api_key, 'escape'), account FROM backmarket.connections c")
        assert not any(KEY in part or KEY.encode().hex() in part for part in row)

    def test_every_secret_key_decrypts_and_the_first_encrypts(self, services: Services) -> None:
        old, new = KeyCipher.generate(), KeyCipher.generate()
        settings = services.settings
        lifecycle.upsert(services.database, KeyCipher((old,)), settings, Account("old", KEY))
        lifecycle.upsert(services.database, KeyCipher((new, old)), settings, Account("new", KEY))
        for cipher, organization in (
            (KeyCipher((new, old)), "old"),
            (KeyCipher((old, new)), "old"),
            (KeyCipher((new,)), "new"),
        ):
            found, _ = connections.credentials(services.database, cipher, services.settings, organization)
            assert found.api_key == KEY
        with pytest.raises(SettingsError, match="BACKMARKET_SECRET_KEYS"):
            connections.credentials(services.database, KeyCipher((old,)), services.settings, "new")

    def test_rotation_encrypts_all_keys_with_the_first(self, services: Services) -> None:
        old, new = KeyCipher.generate(), KeyCipher.generate()
        for number in range(5):
            lifecycle.upsert(
                services.database, KeyCipher((old,)), services.settings, Account(f"org {number}", f"k{number}")
            )
        lifecycle.disable(services.database, "org 3", clear_api_key=True)
        assert connections.rotate_keys(services.database, KeyCipher((new, old)), batch=2) == 4
        for number in (0, 1, 2, 4):
            found, generation = connections.credentials(
                services.database, KeyCipher((new,)), services.settings, f"org {number}"
            )
            assert found.api_key == f"k{number}"
            assert generation == connections.get(services.database, f"org {number}").generation

    def test_rotation_with_a_lost_key_does_the_others_and_says_what_is_missing(self, services: Services) -> None:
        lost, old, new = KeyCipher.generate(), KeyCipher.generate(), KeyCipher.generate()
        for organization, key in (("a", old), ("b", lost), ("c", old)):
            lifecycle.upsert(services.database, KeyCipher((key,)), services.settings, Account(organization, KEY))
        with pytest.raises(SettingsError, match=r"1 of 3 .*'b'.*BACKMARKET_SECRET_KEYS"):
            connections.rotate_keys(services.database, KeyCipher((new, old)))
        for organization, key in (("a", new), ("b", lost), ("c", new)):
            found, _ = connections.credentials(services.database, KeyCipher((key,)), services.settings, organization)
            assert found.api_key == KEY, "nothing is lost"
        assert connections.rotate_keys(services.database, KeyCipher((new, old, lost))) == 3

    @pytest.mark.parametrize("key", ["", "two words", "with\nnewline", "schlüssel", "Basic abc", "\x7f"])
    def test_a_key_that_can_not_be_one_is_refused_without_repeating_it(self, key: str) -> None:
        with pytest.raises(InvalidArgument) as refused:
            Account("shop", key).checked(Settings())
        assert not key or key not in str(refused.value)


def test_no_text_shows_a_secret(settings: Settings, bm: BackMarket, services: Services) -> None:
    connection = bm.upsert_connection("shop", KEY)
    found, _ = connections.credentials(services.database, services.key_cipher, services.settings, "shop")
    shown: list[Any] = [
        connection,
        found,
        settings,
        services,
        bm,
        Account("shop", KEY),
        bm.get_connection_status("shop"),
    ]
    errors: list[BackMarketError] = []
    bm.disconnect("shop", clear_api_key=True)
    for act in (
        lambda: bm.sync_orders("shop"),
        lambda: bm.upsert_connection("shop", KEY, base_url="https://elsewhere.example"),
        lambda: bm.upsert_connection("shop", KEY, locale="xx-xx"),
        lambda: bm.upsert_connection("shop", KEY, region="MOON"),  # type: ignore[arg-type]
        lambda: bm.upsert_connection("a\nb", KEY),
        lambda: KeyCipher(("not a fernet key " + KEY,)),
    ):
        with pytest.raises(BackMarketError) as error:
            act()
        errors.append(error.value)
    secrets = [
        KEY,
        settings.need("limiter_key"),
        settings.need("database_url"),
        settings.secret_keys[0].get_secret_value(),
    ]
    text = " ".join(form(each) for each in (*shown, *errors) for form in (repr, str))
    assert [secret for secret in secrets if secret in text] == []


class TestOrganizationIds:
    @pytest.mark.parametrize(
        "organization",
        ["auth0|1", "a/../b", "..", "it's \"quoted\"", "%s", "%(organization)s", "'; DROP TABLE backmarket.orders; --",
         "\\", "ünïcödé 🦊", "🦊" * 200, "x" * 200, " ", "{}", "$1"],
        ids=lambda text: ascii(text)[:20],
    )  # fmt: skip
    def test_any_printable_id_lives_its_whole_life_beside_another(
        self, bm: BackMarket, services: Services, query: Query, organization: str
    ) -> None:
        bm.upsert_connection("neighbour", "another")
        bm.upsert_connection(organization, KEY)
        assert bm.get_connection_status(organization).connection.organization_id == organization
        assert {each.organization_id for each in bm.get_connections()} == {"neighbour", organization}
        bm.disconnect(organization)
        bm.reconnect(organization)
        bm.sync_orders(organization)
        assert key_of(services, organization) == KEY
        assert bm.get_orders(organization).items == []
        assert {each.organization_id for each in bm.get_status()} == {"neighbour", organization}
        bm.remove_connection(organization)
        assert left_over(query, organization) == {}
        assert key_of(services, "neighbour") == "another"

    @pytest.mark.parametrize("organization", ["", "x" * 201, "a\nb", "a\x00b", "\x1b[31m", "a\u2028b", "\ud800"])
    def test_other_ids_are_refused(self, organization: str) -> None:
        with pytest.raises(InvalidArgument, match="1 to 200"):
            Account(organization, KEY).checked(Settings())

    def test_an_unknown_id_is_not_found_by_anything(self, bm: BackMarket) -> None:
        for act in (
            bm.get_connection_status,
            bm.disconnect,
            bm.reconnect,
            bm.remove_connection,
            bm.sync_orders,
            bm.check_connection,
        ):
            with pytest.raises(ConnectionNotFound, match="connections add"):
                act("nobody")

    def test_connections_are_listed_page_by_page(self, bm: BackMarket) -> None:
        for number in range(7):
            bm.upsert_connection(f"org {number}", KEY)
        listed, after = [], ""
        while found := bm.get_connections(after=after, limit=3):
            listed += [each.organization_id for each in found]
            after = listed[-1]
        assert listed == [f"org {number}" for number in range(7)]


class TestWhereATokenGoes:
    @pytest.mark.parametrize(("region", "environment"), HOSTS)
    def test_the_host_follows_region_and_environment(
        self, bm: BackMarket, services: Services, region: str, environment: str
    ) -> None:
        named: Any = {"region": region.lower(), "environment": environment.upper()}
        bm.upsert_connection("shop", KEY, **named)
        found, _ = connections.credentials(services.database, services.key_cipher, services.settings, "shop")
        assert found.base_url == HOSTS[region, environment]
        assert found.locale == LOCALES[region][0]

    @pytest.mark.parametrize("url", ["https://www.backmarket.fr", "HTTPS://WWW.Backmarket.FR:443/", None])
    def test_the_market_s_own_origin_needs_no_name(self, url: str | None) -> None:
        assert Account("shop", KEY, base_url=url).checked(Settings()).base_url is None

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("https://preprod.backmarket.fr", "another region or environment"),
            ("https://www.backmarket.com", "another region or environment"),
            ("http://www.backmarket.fr", "not https://www.backmarket.fr"),
            ("https://www.backmarket.fr:8443", "not https://www.backmarket.fr"),
            ("https://www.backmarket.fr.evil.example", "not https://www.backmarket.fr"),
            ("https://www.backmarket.fr@evil.example", "user"),
            ("https://evil.example", "BACKMARKET_ALLOWED_BASE_URLS"),
            ("https://www.backmarket.fr/ws", "path"),
            ("https://www.backmarket.fr?a=b", "query"),
            ("https://www.backmarket.fr#a", "fragment"),
            ("ftp://www.backmarket.fr", "not an origin"),
            ("www.backmarket.fr", "not an origin"),
            ("https://", "not an origin"),
            ("https://www.backmarket.fr:port", "cannot be used"),
            ("https://[::1", "cannot be used"),
            ("", "not an origin"),
        ],
    )
    def test_every_other_origin_is_refused(self, url: str, why: str) -> None:
        with pytest.raises(InvalidArgument, match=why):
            Account("shop", KEY, base_url=url).checked(Settings())

    def test_a_refused_origin_is_not_stored(self, bm: BackMarket) -> None:
        bm.upsert_connection("shop", KEY)
        with pytest.raises(InvalidArgument):
            bm.upsert_connection("shop", "another", base_url="https://evil.example")
        with pytest.raises(InvalidArgument):
            bm.upsert_connection("second", KEY, base_url="https://evil.example")
        assert [each.base_url for each in bm.get_connections()] == [None]

    def test_an_allowed_origin_is_kept_in_its_normal_form(self) -> None:
        settings = Settings(allowed_base_urls="http://Sandbox.example:80, https://x.example/")
        for url, kept in (
            ("http://SANDBOX.example", "http://sandbox.example"),
            ("https://x.example:443", "https://x.example"),
        ):
            assert Account("shop", KEY, base_url=url).checked(settings).base_url == kept

    def test_a_redirect_takes_no_token_along(self, settings: Settings, org: str) -> None:
        with Gate(listed()) as elsewhere, Gate(Reply(302)) as here:
            here.reply = Reply(302, headers={"Location": f"{elsewhere.url}/ws/orders"})
            here.open.set()
            elsewhere.open.set()
            shop = Gated(settings, here, org)
            assert shop.run_slice().end == "failed"
            assert shop.bm.check_connection(org).ok is False
            shop.close()
        assert here.keys == [f"Basic {KEY}"] * 2
        assert elsewhere.keys == []

    @pytest.mark.parametrize(("region", "locale"), [("EU", "DE-de"), ("EU", "sk-sk"), ("NA", "en-us"), ("AP", "en-au")])
    def test_a_region_speaks_its_locales(self, region: str, locale: str) -> None:
        assert Account("shop", KEY, region=region, locale=locale).checked(Settings()).locale == locale.lower()

    @pytest.mark.parametrize(("region", "locale"), [("EU", "en-us"), ("NA", "fr-fr"), ("AP", "en-gb"), ("EU", "fr")])
    def test_a_locale_of_another_region_is_refused(self, region: str, locale: str) -> None:
        with pytest.raises(InvalidArgument, match=f"Region {region} has no locale '{locale}'; it has"):
            Account("shop", KEY, region=region, locale=locale).checked(Settings())

    @pytest.mark.parametrize(("region", "environment"), [("MOON", "production"), ("EU", "staging"), ("", "")])
    def test_there_are_no_other_markets(self, region: str, environment: str) -> None:
        with pytest.raises(InvalidArgument, match="the regions are EU, NA and AP"):
            Account("shop", KEY, environment, region).checked(Settings())

    def test_one_call_may_speak_another_locale_but_not_another_environment(
        self, bm: BackMarket, services: Services
    ) -> None:
        bm.upsert_connection("shop", KEY)
        found, _ = connections.credentials(
            services.database, services.key_cipher, services.settings, "shop", locale="es-es", environment="production"
        )
        assert found.locale == "es-es"
        with pytest.raises(EnvironmentMismatch, match="'production', not 'sandbox'"):
            connections.credentials(
                services.database, services.key_cipher, services.settings, "shop", environment="sandbox"
            )
        with pytest.raises(InvalidArgument):
            connections.credentials(services.database, services.key_cipher, services.settings, "shop", locale="ja-jp")


class Gated:
    """An organization whose API answers when the test says so, and a worker's slice beside it."""

    def __init__(self, settings: Settings, gate: Gate, organization: str) -> None:
        self.settings = settings.model_copy(update={"allowed_base_urls": (gate.url,)})
        self.bm = BackMarket(self.settings)
        self.services = Services(self.settings)
        self.services.limiter.skip_recovery()
        self.organization = organization
        self.url = gate.url
        self.connect()

    def connect(self, key: str = KEY, **parts: Any) -> connections.Connection:
        return self.bm.upsert_connection(self.organization, key, base_url=self.url, **parts)

    def run_slice(self) -> SliceResult:
        return run_slice(self.services, self.organization, "orders")

    def close(self) -> None:
        self.bm.close()
        self.services.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate(listed({"order_id": 7, "orderlines": [{"id": 70}]})) as gate:
        yield gate


@pytest.fixture
def gated(settings: Settings, gate: Gate, org: str) -> Iterator[Gated]:
    gated = Gated(settings, gate, org)
    yield gated
    gated.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


class TestGenerations:
    def test_only_key_market_and_base_url_begin_a_new_one(self, gated: Gated) -> None:
        first = gated.connect().generation
        assert gated.connect().generation == first, "the same key again"
        assert gated.connect(locale="de-de").generation == first
        gated.bm.disconnect(gated.organization)
        gated.bm.reconnect(gated.organization)
        assert gated.connect().generation == first
        generations = [
            gated.connect("another").generation,
            gated.connect("another", environment="sandbox").generation,
            gated.connect("another", environment="sandbox", region="NA").generation,
            gated.bm.upsert_connection(gated.organization, "another", environment="sandbox", region="NA").generation,
        ]
        assert [first, *generations] == sorted({first, *generations})

    @pytest.mark.parametrize("walk", ["first", "later with news", "later without news"])
    @pytest.mark.parametrize("act", ["new key", "disabled", "removed"])
    def test_what_runs_when_the_connection_changes_writes_nothing(
        self, gated: Gated, gate: Gate, pool: ThreadPoolExecutor, query: Query, act: str, walk: str
    ) -> None:
        if walk != "first":
            gate.open.set()
            gate.reply = listed()
            assert gated.run_slice().end == "done"
            gate.open.clear()
            gated.bm.sync_orders(gated.organization)
        if walk == "later with news":
            gate.reply = listed({"order_id": 7})
        slice_ = pool.submit(gated.run_slice)
        gate.wait(requests=1 if walk == "first" else 2)
        if act == "new key":
            gated.connect("another")
        elif act == "disabled":
            gated.bm.disconnect(gated.organization)
        else:
            gated.bm.remove_connection(gated.organization)
        gate.open.set()
        assert slice_.result(PATIENCE_SECONDS).end == "lease_lost"
        assert query("SELECT count(*) FROM backmarket.orders") == [(0,)]
        assert query("SELECT count(*) FROM backmarket.sync_state WHERE served > 0") == [(0,)]
        if act == "removed":
            assert left_over(query, gated.organization) == {}

    def test_what_ran_before_a_removal_is_void_in_the_connection_made_anew(
        self, gated: Gated, gate: Gate, pool: ThreadPoolExecutor
    ) -> None:
        old = pool.submit(gated.run_slice)
        gate.wait()
        gated.bm.remove_connection(gated.organization)
        gated.connect("another")
        new = pool.submit(gated.run_slice)
        gate.wait(requests=2)
        gate.open.set()
        assert old.result(PATIENCE_SECONDS).end == "lease_lost"
        assert new.result(PATIENCE_SECONDS).end == "done"

    @pytest.mark.parametrize("act", ["new key", "removed and connected again"])
    def test_a_late_refusal_does_not_disable_the_new_key(
        self, gated: Gated, gate: Gate, pool: ThreadPoolExecutor, act: str
    ) -> None:
        gate.reply = Reply(401)
        slice_, check = pool.submit(gated.run_slice), pool.submit(gated.bm.check_connection, gated.organization)
        gate.wait(requests=2)
        if act != "new key":
            gated.bm.remove_connection(gated.organization)
        gated.connect("another")
        gate.open.set()
        assert slice_.result(PATIENCE_SECONDS).end == "lease_lost"
        assert not check.result(PATIENCE_SECONDS).ok
        connection = gated.bm.get_connection_status(gated.organization).connection
        assert (connection.health, connection.last_error) == ("ok", None)

    def test_a_new_key_forgets_the_refusal_of_the_old_one_and_the_same_key_does_not(
        self, gated: Gated, gate: Gate, query: Query
    ) -> None:
        gate.reply = Reply(401)
        gate.open.set()
        assert gated.run_slice().end == "failed"
        query("UPDATE backmarket.connections SET refused_at = refused_at - interval '31 s'")
        assert not gated.bm.check_connection(gated.organization).ok
        assert gated.connect().health == "unauthorized"
        with pytest.raises(ConnectionUnauthorized, match="connections add"):
            gated.bm.sync_orders(gated.organization)
        assert gated.connect("another").health == "ok"
        status = gated.bm.get_connection_status(gated.organization).resources["orders"]
        assert (status.state, status.error) == ("never", None)
        gate.reply = listed()
        assert gated.run_slice().end == "done", "it was due at once, back-off or not"

    def test_a_new_key_begins_with_a_full_walk(self, gated: Gated, gate: Gate, query: Query) -> None:
        gate.open.set()
        assert gated.run_slice().end == "done"
        gated.connect("another")
        assert gated.run_slice().end == "done"
        assert "date_modification" not in gate.paths[-1]
        gated.bm.sync_orders(gated.organization)
        assert gated.run_slice().end == "done"
        assert "date_modification" in gate.paths[-1], "and goes on with what changed"

    def test_connecting_again_makes_a_sync_due_at_once(self, gated: Gated, gate: Gate) -> None:
        gate.open.set()
        assert gated.run_slice().end == "done"
        assert gated.run_slice().end == "nothing_to_do"
        gated.connect()
        assert gated.run_slice().end == "done"


class TestMarkets:
    @pytest.mark.parametrize("market", [{"environment": "sandbox"}, {"region": "NA"}])
    def test_the_market_changes_only_without_rows_or_by_discarding_them(
        self, gated: Gated, gate: Gate, query: Query, market: dict[str, str]
    ) -> None:
        gate.open.set()
        assert gated.run_slice().end == "done"
        before = left_over(query, gated.organization)
        with pytest.raises(InvalidArgument, match=r"discard_rows=True.*--discard-rows"):
            gated.connect(**market)
        assert left_over(query, gated.organization) == before, "a refusal changes nothing"
        assert gated.connect(locale="de-de").locale == "de-de", "and locks nothing"

        gated.connect(**market, discard_rows=True)
        assert set(left_over(query, gated.organization)) == {"connections", "sync_state", "changes"}
        feed = query("SELECT kind FROM backmarket.changes WHERE external_id = '7' ORDER BY transaction_id, id")
        assert feed == [("created",), ("removed",)], "a reader of the feed hears that they are gone"
        status = gated.bm.get_connection_status(gated.organization).resources["orders"]
        assert (status.state, status.last_success_at, status.watermark) == ("never", None, None)
        assert gated.run_slice().end == "done"
        assert query("SELECT count(*) FROM backmarket.orders") == [(1,)]

    def test_discarding_takes_unfinished_walks_along(self, shop: Shop, org: str, query: Query) -> None:
        shop.restart(task_budget_pages=4, fetch_threads=2)
        shop.sell(org, orders=600)
        assert shop.run_slice(org).end == "handed_on"
        assert {"walks", "walk_seen", "orders", "orderlines"} <= set(left_over(query, org))
        account = Account(org, "another", environment="sandbox")
        lifecycle.upsert(shop.services.database, shop.services.key_cipher, shop.settings, account, discard_rows=True)
        assert set(left_over(query, org)) == {"connections", "sync_state", "changes"}

    def test_without_rows_the_market_changes_freely(self, bm: BackMarket) -> None:
        bm.upsert_connection("shop", KEY)
        assert bm.upsert_connection("shop", KEY, environment="sandbox", region="AP").locale == "ja-jp"


class TestDisabling:
    def test_a_disabled_account_is_not_asked_until_enabled(self, gated: Gated, gate: Gate) -> None:
        gate.open.set()
        assert gated.bm.disconnect(gated.organization).health == "disabled"
        with pytest.raises(ConnectionDisabled, match="connections enable"):
            gated.bm.sync_orders(gated.organization)
        assert gated.run_slice().end == "nothing_to_do"
        assert gate.keys == []
        assert gated.bm.reconnect(gated.organization).health == "ok"
        assert gated.run_slice().end == "done"
        assert gate.keys == [f"Basic {KEY}"]

    def test_a_cleared_key_is_gone_and_only_a_new_one_helps(self, gated: Gated, gate: Gate, query: Query) -> None:
        connection = gated.bm.disconnect(gated.organization, clear_api_key=True)
        assert (connection.health, connection.has_api_key) == ("no_key", False)
        assert query("SELECT api_key, account FROM backmarket.connections") == [(None, None)]
        for act in (gated.bm.reconnect, gated.bm.sync_orders, gated.bm.check_connection):
            with pytest.raises(ApiKeyMissing, match="connections add"):
                act(gated.organization)
        gate.open.set()
        assert gated.connect().health == "ok"
        assert gated.run_slice().end == "done"

    def test_enabling_forgives_failures(self, gated: Gated, gate: Gate) -> None:
        gate.reply = Reply(400)
        gate.open.set()
        assert gated.run_slice().end == "failed"
        assert gated.bm.get_connection_status(gated.organization).connection.health == "failing"
        gated.bm.reconnect(gated.organization)
        status = gated.bm.get_connection_status(gated.organization)
        assert (status.connection.health, status.resources["orders"].state) == ("ok", "never")
        assert gated.run_slice().end == "failed", "it was due at once"


class TestRemoval:
    def test_nothing_of_the_organization_stays_in_any_table(self, shop: Shop, org: str, query: Query) -> None:
        shop.sell(org, orders=120)
        assert shop.sync(org).end == "done"
        shop.restart(task_budget_pages=1, fetch_threads=1)
        shop.sandbox.change(org, modify=100)
        assert shop.run_slice(org, full=True).end == "handed_on"
        shop.sandbox.add_seller(f"{org}/2", f"token-of-{org}/2", orders=60)
        shop.connect(f"{org}/2", f"token-of-{org}/2")
        assert shop.sync(f"{org}/2").end == "done"
        other = left_over(query, f"{org}/2")
        stored = left_over(query, org)
        assert set(stored) == {
            "connections", "sync_state", "walks", "walk_seen", "sync_runs", "orders", "orderlines", "changes"
        }  # fmt: skip
        assert lifecycle.remove(shop.services.database, org) == stored["orders"] + stored["orderlines"]
        assert left_over(query, org) == {}
        assert left_over(query, f"{org}/2") == other
        with pytest.raises(ConnectionNotFound):
            lifecycle.remove(shop.services.database, org)

    def test_a_removal_waits_for_a_slice_that_is_writing_and_then_takes_its_rows_along(
        self, gated: Gated, gate: Gate, pool: ThreadPoolExecutor, query: Query, database_url: str
    ) -> None:
        gate.open.set()
        with open_connection(database_url) as holder:
            holder.execute("LOCK TABLE backmarket.orders IN ACCESS EXCLUSIVE MODE")
            slice_ = pool.submit(gated.run_slice)
            until(query, "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'backmarket.orders'::regclass)")
            removal = pool.submit(gated.bm.remove_connection, gated.organization)
            until(query, "(SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock') = 2")
        assert slice_.result(PATIENCE_SECONDS).end == "done"
        assert removal.result(PATIENCE_SECONDS) == 2
        assert left_over(query, gated.organization) == {}

    def test_a_slice_that_comes_to_write_during_a_removal_writes_nothing(
        self, gated: Gated, gate: Gate, pool: ThreadPoolExecutor, query: Query, database_url: str
    ) -> None:
        slice_ = pool.submit(gated.run_slice)
        gate.wait()
        with open_connection(database_url) as holder:
            holder.execute("LOCK TABLE backmarket.orders IN ACCESS EXCLUSIVE MODE")
            removal = pool.submit(gated.bm.remove_connection, gated.organization)
            until(query, "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'backmarket.orders'::regclass)")
            gate.open.set()
            until(query, "(SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock') = 2")
        assert removal.result(PATIENCE_SECONDS) == 0
        assert slice_.result(PATIENCE_SECONDS).end == "lease_lost"
        assert left_over(query, gated.organization) == {}

    @pytest.mark.slow
    def test_slices_and_changes_of_the_connection_never_wait_for_each_other_in_a_circle(
        self, shop: Shop, org: str, query: Query
    ) -> None:
        """Everything that locks, again and again against everything else; PostgreSQL would name a deadlock."""
        database, cipher = shop.services.database, shop.services.key_cipher
        shop.sandbox.add_seller(org, f"token-of-{org}", orders=5)
        shop.sandbox.add_fault("forbidden", seller=org, probability=0.5)  # a slice then writes why, too, and asks once
        account = Account(org, f"token-of-{org}", base_url=shop.sandbox.url)
        worked, ends, wanted = Event(), Counter[str](), ("done", "failed", "lease_lost")

        def work() -> None:
            until = monotonic() + PATIENCE_SECONDS
            try:
                while min(ends[end] for end in wanted) < 20 and monotonic() < until:
                    with suppress(ConnectionNotFound, ConnectionDisabled, InvalidArgument):  # removed between two looks
                        ends[shop.run_slice(org).end] += 1
            finally:
                worked.set()

        def often(act: Callable[[], object]) -> None:
            while not worked.is_set():
                with suppress(ConnectionNotFound):
                    act()

        acts: list[Callable[[], object]] = [
            lambda: lifecycle.upsert(database, cipher, shop.settings, account),
            lambda: (lifecycle.remove(database, org), worked.wait(0.1)),
            lambda: (lifecycle.disable(database, org), lifecycle.enable(database, org), worked.wait(0.02)),
            lambda: connections.rotate_keys(database, cipher),
        ]
        with ThreadPoolExecutor(1 + len(acts)) as threads:
            for done in [threads.submit(work), *(threads.submit(often, act) for act in acts)]:
                done.result(2 * PATIENCE_SECONDS)
        assert min(ends[end] for end in wanted) >= 20
        query("SELECT pg_stat_force_next_flush()")
        ((deadlocks,),) = query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert deadlocks == 0


class TestSeveralAtOnce:
    def test_the_same_new_organization_is_connected_by_many_at_once(self, bm: BackMarket, query: Query) -> None:
        together = Barrier(6)

        def connect(number: int) -> int:
            together.wait(PATIENCE_SECONDS)
            return bm.upsert_connection("shop", f"key-{number % 3}").generation

        for _ in range(5):
            with ThreadPoolExecutor(6) as threads:
                seen = sorted(threads.map(connect, range(6)))
            current = bm.get_connection_status("shop").connection.generation
            assert seen[-1] == current
            assert len(set(seen)) >= 3, "three keys are three generations at least"
            bm.remove_connection("shop")
        assert left_over(query, "shop") == {}

    def test_removing_twice_at_once_removes_once(self, bm: BackMarket) -> None:
        bm.upsert_connection("shop", KEY)
        together = Barrier(2)

        def remove(_: int) -> str:
            together.wait(PATIENCE_SECONDS)
            try:
                bm.remove_connection("shop")
            except ConnectionNotFound:
                return "not found"
            return "removed"

        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(remove, range(2))) == ["not found", "removed"]


class TestCheck:
    def test_a_good_key_is_told_with_the_number_of_orders(self, shop: Shop, org: str) -> None:
        shop.sell(org, orders=123)
        with BackMarket(shop.settings) as bm:
            check = bm.check_connection(org)
        assert (check.ok, check.orders, check.error) == (True, 123, None)
        assert 0 < check.seconds < PATIENCE_SECONDS

    def test_a_refused_key_is_marked_and_used_again_once_it_is_accepted(self, shop: Shop, org: str) -> None:
        shop.sell(org, orders=10)
        shop.sandbox.patch_seller(org, revoked=True)
        with BackMarket(shop.settings) as bm:
            check = bm.check_connection(org)
            assert check.error is not None
            assert (check.ok, check.error.code, check.error.status) == (False, "unauthorized", 401)
            let_time_pass(shop, 31)
            assert not bm.check_connection(org).ok
            connection = bm.get_connection_status(org).connection
            assert (connection.health, connection.last_error_code) == ("unauthorized", "unauthorized")
            shop.sandbox.patch_seller(org, revoked=False)
            assert bm.check_connection(org).ok
            assert bm.get_connection_status(org).connection.health == "ok"
        assert shop.run_slice(org, ask=False).end == "done", "it is due at once"

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ("waf_html", "firewall_blocked"),
            ("waf_json", "firewall_blocked"),
            ("status", "server_error"),
            ("garbage", "broken_answer"),
            ("reset", "network"),
            ("forbidden", "not_available"),
        ],
    )
    def test_what_is_not_the_key_s_fault_does_not_mark_it(self, shop: Shop, org: str, fault: Any, code: str) -> None:
        shop.sell(org, orders=10)
        shop.sandbox.add_fault(fault, seller=org)
        with BackMarket(shop.settings) as bm:
            check = bm.check_connection(org)
            assert check.error is not None
            assert (check.ok, check.orders, check.error.code) == (False, None, code)
            assert bm.get_connection_status(org).connection.health == "ok"

    def test_a_rate_limit_is_told_and_heeded(self, shop: Shop, org: str) -> None:
        shop.sell(org, orders=10)
        shop.sandbox.add_fault("rate_limited", seller=org)
        first = shop.services
        check = connections_check(first, org)
        assert check == "rate_limited"
        asked = shop.sandbox.stats().count("orders.list", org)
        assert connections_check(first, org, timeout=0.01) == "rate_limited"
        assert shop.sandbox.stats().count("orders.list", org) == asked, "nobody asks while the account is blocked"

    def test_an_organization_without_a_connection_is_reported_as_such(self, settings: Settings, org: str) -> None:
        with Gate(listed()) as gate:
            gated = Gated(settings, gate, org)
        check = gated.bm.check_connection(org)
        assert check.error is not None
        assert (check.ok, check.error.code) == (False, "network")
        assert gated.bm.get_connection_status(org).connection.health == "ok"
        gated.close()

    @pytest.mark.parametrize("act", ["disabled", "removed", "cleared"])
    def test_a_late_acceptance_does_not_undo_what_a_person_did(
        self, gated: Gated, gate: Gate, pool: ThreadPoolExecutor, query: Query, act: str
    ) -> None:
        query("UPDATE backmarket.connections SET refused_at = now(), unauthorized_at = now()")
        check = pool.submit(gated.bm.check_connection, gated.organization)
        gate.wait()
        if act == "removed":
            gated.bm.remove_connection(gated.organization)
        else:
            gated.bm.disconnect(gated.organization, clear_api_key=act == "cleared")
        gate.open.set()
        assert check.result(PATIENCE_SECONDS).ok
        assert query("SELECT count(*) FROM backmarket.connections WHERE enabled") == [(0,)]

    def test_a_late_acceptance_of_the_old_key_does_not_vouch_for_the_new_one(
        self, gated: Gated, gate: Gate, pool: ThreadPoolExecutor, query: Query
    ) -> None:
        check = pool.submit(gated.bm.check_connection, gated.organization)
        gate.wait()
        gated.connect("another")
        query("UPDATE backmarket.connections SET refused_at = now(), unauthorized_at = now()")
        gate.open.set()
        assert check.result(PATIENCE_SECONDS).ok
        assert gated.bm.get_connection_status(gated.organization).connection.health == "unauthorized"


def connections_check(services: Services, organization: str, *, timeout: float = 15.0) -> str:
    """What a check says is wrong."""
    from backmarket.organizations.check import check_connection

    error = check_connection(services, organization, timeout=timeout).error
    assert error is not None
    return error.code
