"""The `backmarket` command against real servers and the sandbox, as people and programs use it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from backmarket import BackMarket
from backmarket.cli.app import app
from backmarket.database.console_sessions import Lifetime, NewSession
from backmarket.errors import ENV_PREFIX
from backmarket.resources import RESOURCES
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from tests.support.examples import some
from tests.support.sellers import Shop, let_time_pass
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ORG = "auth0|1"
ODD = 'a/../b "[red]" %s \' é'
KEY = "key-of-nobody-5f1c"
COMMAND = str(Path(sys.executable).with_name("backmarket"))


@dataclass
class Cli:
    """The command with the environment of this test."""

    shop: Shop

    def __call__(self, *arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(app, arguments, **options)

    def ok(self, *arguments: str, **options: Any) -> Result:
        """It must go well, and say nothing that looks like a fault."""
        result = self(*arguments, **options)
        assert (result.exit_code, "Error" in result.stderr) == (0, False), result.output
        return result

    def json(self, *arguments: str) -> Any:
        """Its standard output, which must be one JSON document and all that is said."""
        result = self.ok(*arguments, "--json")
        assert result.stderr == ""
        return json.loads(result.stdout)

    def fails(self, exit_code: int, *arguments: str, **options: Any) -> str:
        """It must fail so, with one sentence and nothing on standard output; the sentence."""
        result = self(*arguments, **options)
        assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        return line


@pytest.fixture
def cli(settings: Settings, sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command, with a sandbox whose sellers are this test's own."""
    shop = Shop(settings.model_copy(update={"rate_limit": 100_000}), sandbox)
    for name in (*settings.model_fields_set, "rate_limit", "allowed_base_urls"):
        monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", as_text(getattr(shop.settings, name)))
    yield Cli(shop)
    shop.services.close()


@pytest.fixture
def orders(cli: Cli, sandbox: SandboxControl, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Sixty orders of an organization, synced; as the sandbox lists them, newest first."""
    seller = sell(cli, request.node.name, ORG, orders=60)
    cli.shop.sync(ORG)
    listed = [row for row in sandbox.truth(seller) if row["state"] not in {0, 8}]
    return sorted(listed, key=lambda row: (created(row), row["order_id"]), reverse=True)


def created(row: dict[str, Any]) -> datetime:
    at = datetime.fromisoformat(row["date_creation"])
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def as_text(value: Any) -> str:
    """A setting as the environment has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(map(as_text, value)) if isinstance(value, tuple) else str(value)


def sell(cli: Cli, name: str, organization: str, **spec: Any) -> str:
    """A seller of its own, connected through the command; its name."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{name} {organization}".lower())
    cli.shop.sandbox.add_seller(name, f"token-{name}", **spec)
    cli.ok("connections", "add", organization, "--api-key-stdin", *at(cli), input=f"token-{name}\n")
    return name


def at(cli: Cli) -> tuple[str, str]:
    return "--base-url", cli.shop.sandbox.url


@contextmanager
def worker(cli: Cli) -> Iterator[None]:
    """Takes the slices that are asked for, as a worker would."""
    ended = Event()

    def work() -> None:
        while not ended.wait(0.05):
            for (resource,) in cli.shop.execute("SELECT resource FROM backmarket.sync_state WHERE requested > served"):
                cli.shop.run_slice(ORG, resource, ask=False)

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own, with no terminal."""
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": PATIENCE_SECONDS} | options
    return subprocess.run([COMMAND, *arguments], check=False, **options)


class OnTerminal:
    """The real command on a terminal of its own.

    Args:
        arguments: of the command.
    """

    def __init__(self, *arguments: str) -> None:
        self.fd, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read until it has shown a text."""
        until = monotonic() + PATIENCE_SECONDS
        while text not in self.shown:
            assert monotonic() < until, self.shown
            self._read()

    def type(self, text: str) -> None:
        """Type, when it asks with echo on."""
        os.write(self.fd, text.encode())

    def type_unseen(self, text: str) -> None:
        """Type, once the echo is off: getpass flushes what came before."""
        wait_until(lambda: not termios.tcgetattr(self.fd)[3] & termios.ECHO, "the echo is off")
        self.type(text)

    def interrupt(self) -> int:
        """Press Ctrl-C until it ends, as a person would; its exit code.

        It is pressed once the command waits: a signal that comes between Python's last look and `read` waits for a key.
        Should that happen all the same, the next one comes late, as it would strike one that is about to end.
        """
        wait_until(self._waits, "it waits")
        until = monotonic() + PATIENCE_SECONDS
        while monotonic() < until:
            self._process.send_signal(signal.SIGINT)  # the terminal is not its controlling one
            while select.select([self.fd], [], [], PATIENCE_SECONDS / 5)[0]:
                if not self._read():
                    return self._ended()
        raise AssertionError(f"Ctrl-C does not end it: {self.shown}")

    def end(self) -> int:
        """Read to the end; its exit code."""
        while self._read():
            pass
        return self._ended()

    def _waits(self) -> bool:
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].startswith("S")

    def _ended(self) -> int:
        os.close(self.fd)
        return self._process.wait(PATIENCE_SECONDS)

    def _read(self) -> bool:
        try:
            chunk = os.read(self.fd, 65536)
        except OSError:
            return False
        self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", chunk.decode(errors="replace"))
        return bool(chunk)


class TestDb:
    def test_init_makes_the_tables_and_may_be_repeated(self, cli: Cli) -> None:
        cli.shop.execute("DROP SCHEMA backmarket CASCADE")
        assert "backmarket db init" in cli.fails(2, "status")
        for _ in range(2):
            cli.ok("db", "init")
        assert cli.json("status") == {"items": [], "next_cursor": None}


class TestConnections:
    def test_a_key_comes_from_a_file_the_environment_or_standard_input(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "key"
        file.write_text(f"{KEY}-file\n")
        cli.ok("connections", "add", "by-file", "--api-key-file", str(file), *at(cli))
        cli.ok("connections", "add", "by-input", "--api-key-stdin", *at(cli), input=f" {KEY}-input\n")
        monkeypatch.setenv("BACKMARKET_API_KEY", f"{KEY}-environment")
        cli.ok("connections", "add", "by-environment", *at(cli))
        for organization in ("file", "input", "environment"):
            found = cli.shop.one(
                "SELECT api_key FROM backmarket.connections WHERE organization_id = %s", f"by-{organization}"
            )
            assert cli.shop.services.key_cipher.decrypt(found) == f"{KEY}-{organization}"

    def test_without_a_key_and_a_terminal_it_says_how(self, cli: Cli, tmp_path: Path) -> None:
        assert "--api-key-stdin" in cli.fails(2, "connections", "add", "x")
        assert "one of" in cli.fails(2, "connections", "add", "x", "--api-key-stdin", "--api-key-file", __file__)
        assert "does not exist" in cli.fails(2, "connections", "add", "x", "--api-key-file", str(tmp_path / "none"))
        (tmp_path / "binary").write_bytes(b"\xff\x00")
        assert "one word" in cli.fails(2, "connections", "add", "x", "--api-key-file", str(tmp_path / "binary"))

    def test_on_a_terminal_it_is_asked_for_and_not_shown(self, cli: Cli) -> None:
        terminal = OnTerminal("connections", "add", ORG, *at(cli))
        terminal.wait_for("API key: ")
        terminal.type_unseen(f"{KEY}\n")
        assert terminal.end() == 0
        assert "Connected" in terminal.shown
        assert KEY not in terminal.shown

    def test_what_can_not_be_meant_is_refused_in_a_sentence(self, cli: Cli) -> None:
        for wrong in (
            ["x", "--region", "MARS"],
            ["x", "--environment", "test"],
            ["x", "--locale", "en-us"],
            ["x", "--base-url", "http://elsewhere.example"],
            ["x", "--base-url", "not a url"],
            [""],
            ["x" * 201],
            ["x\ny"],
        ):
            sentence = cli.fails(2, "connections", "add", *wrong, "--api-key-stdin", input=KEY)
            assert KEY not in sentence
        assert cli.json("connections", "list")["items"] == []

    def test_odd_ids_are_printed_as_they_are(self, cli: Cli) -> None:
        sell(cli, "odd", ODD)
        assert ODD in cli.ok("connections", "list").stdout
        assert ODD in cli.ok("connections", "show", ODD).stdout
        assert ODD in cli.ok("status").stdout
        assert cli.json("connections", "show", ODD)["organization_id"] == ODD
        assert ODD in cli.ok("connections", "remove", ODD, "--yes").stderr

    def test_the_key_is_in_no_output(self, cli: Cli) -> None:
        added = cli("connections", "add", ORG, "--api-key-stdin", "--check", "--json", *at(cli), input=KEY)
        said = [added, cli("connections", "check", ORG), cli("connections", "show", ORG), cli("status", "--json")]
        assert [result.exit_code for result in said] == [4, 4, 0, 0]
        assert not [result.output for result in said if KEY in result.output]

    def test_a_refused_key_is_told_everywhere(self, cli: Cli) -> None:
        cli.ok("connections", "add", ORG, "--api-key-stdin", *at(cli), input=KEY)
        checked = cli("connections", "check", ORG)
        assert checked.exit_code == 4, checked.output
        assert "does not accept the key" in checked.stderr
        assert "-> Create a new API key" in checked.stderr
        assert "does not accept the key" in cli.ok("status", ORG, "--failing").stdout
        let_time_pass(cli.shop, 31)
        assert "does not accept the key" in cli.fails(4, "connections", "check", ORG)
        assert "unauthorized" in cli.ok("connections", "list").stdout
        told = cli.ok("status", ORG, "--failing").stdout
        assert "does not accept the key" in told
        assert re.search(r"in 1 h|in [67]\d min", told), "when it is tried again"
        assert cli.json("connections", "show", ORG)["health"] == "unauthorized"
        assert "refused the key" in cli.fails(4, "sync", ORG)

    def test_a_good_key_is_told_with_what_the_account_has(self, cli: Cli) -> None:
        sell(cli, "good", ORG, orders=7)
        assert "7 orders" in cli.ok("connections", "check", ORG).stderr
        checked = cli.json("connections", "check", ORG)
        assert (checked["ok"], checked["orders"], checked["error"]) == (True, 7, None)

    def test_disabled_and_enabled(self, cli: Cli) -> None:
        sell(cli, "disabled", ORG)
        cli.ok("connections", "disable", ORG)
        assert "disabled" in cli.fails(4, "sync", ORG)
        cli.ok("connections", "enable", ORG)
        cli.ok("connections", "disable", ORG, "--clear-key")
        assert "cleared" in cli.fails(4, "connections", "enable", ORG)

    def test_removed_only_after_a_confirmation(self, cli: Cli) -> None:
        sell(cli, "removed", ORG)
        assert "--yes" in cli.fails(2, "connections", "remove", ORG)
        for answer, code in (("n\n", 1), ("y\n", 0)):
            terminal = OnTerminal("connections", "remove", ORG)
            terminal.wait_for("[y/N]: ")
            terminal.type(answer)
            assert terminal.end() == code
        assert cli.json("connections", "list")["items"] == []

    def test_ctrl_c_at_a_question(self, cli: Cli) -> None:
        sell(cli, "asked", ORG)
        terminal = OnTerminal("connections", "remove", ORG)
        terminal.wait_for("[y/N]: ")
        assert terminal.interrupt() == 130
        assert len(cli.json("connections", "list")["items"]) == 1

    @pytest.mark.parametrize(
        "command",
        some(
            [
                "connections show",
                "connections disable",
                "connections enable",
                "connections remove --yes",
                "connections check",
                "sync",
                "status",
                "orders list",
                "orderlines list",
                "listings list",
                "deliveries list",
                "returns list",
                "schedule show",
            ]
        ),
    )
    def test_an_unknown_one_is_not_found(self, cli: Cli, command: str) -> None:
        assert "No connection" in cli.fails(3, *command.split(), "nobody")


class TestOrders:
    def test_pages_hold_every_order_once_newest_first(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        found: list[Any] = []
        cursor: list[str] = []
        while True:
            page = cli.json("orders", "list", ORG, "--limit", "25", *cursor)
            found += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = ["--cursor", page["next_cursor"]]
        assert [row["order_id"] for row in found] == [row["order_id"] for row in orders]

    def test_filters(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        def ids(*options: str) -> list[int]:
            return [row["order_id"] for row in cli.json("orders", "list", ORG, *options)["items"]]

        middle, sku = orders[30], orders[30]["orderlines"][0]["listing"]
        day = created(middle).astimezone(UTC).strftime("%Y-%m-%d")
        assert ids("--state", "processed", "--limit", "1000") == [
            row["order_id"] for row in orders if row["state"] == 9
        ]
        assert ids("--state", "77") == []
        assert middle["order_id"] in ids("--sku", sku.lower())
        assert middle["order_id"] in ids("--created-after", day)
        assert middle["order_id"] not in ids("--created-before", day)
        assert ids("--country", middle["country_code"], "--created-after", day)

    def test_personal_data_only_if_asked_for(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        order = next(row for row in orders if row["shipping_address"] and row["shipping_address"]["lastName"])
        name, phone = order["shipping_address"]["lastName"], order["shipping_address"]["phoneNumber"]
        number = str(order["order_id"])
        for options in ([], ["--json"]):
            shown = cli.ok("orders", "show", ORG, number, *options).stdout
            assert name not in shown
            assert phone not in shown
            assert "ddress" not in shown
            assert name not in cli.ok("orders", "list", ORG, *options).stdout
        document = cli.json("orders", "show", ORG, number, "--personal")
        assert document["shipping_address"]["phoneNumber"] == phone
        assert document["raw"]["order_id"] == order["order_id"]
        assert name in cli.ok("orders", "show", ORG, number, "--personal").stdout

    def test_an_order_comes_with_its_lines(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        document = cli.json("orders", "show", ORG, str(orders[0]["order_id"]))
        assert {line["orderline_id"] for line in document["orderlines"]} == {x["id"] for x in orders[0]["orderlines"]}
        assert document["price"] == orders[0]["price"]

    def test_order_lines(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        order = orders[0]
        line = order["orderlines"][0]
        listed = cli.json("orderlines", "list", ORG, "--order", str(order["order_id"]), "--sku", line["listing"])
        assert line["id"] in {row["orderline_id"] for row in listed["items"]}
        assert {row["order_id"] for row in listed["items"]} == {order["order_id"]}
        states = {row["state"] for row in cli.json("orderlines", "list", ORG, "--state", str(line["state"]))["items"]}
        assert states == {line["state"]}
        assert cli.json("orderlines", "show", ORG, str(line["id"]))["listing"] == line["listing"]
        assert "imei" not in cli.ok("orderlines", "show", ORG, str(line["id"])).stdout
        assert "imei" in cli.json("orderlines", "show", ORG, str(line["id"]), "--personal")

    def test_what_is_not_stored_is_not_found(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        assert "No order 5" in cli.fails(3, "orders", "show", ORG, "5")
        assert "No order line 5" in cli.fails(3, "orderlines", "show", ORG, "5")
        assert "No connection" in cli.fails(3, "orders", "show", "nobody", str(orders[0]["order_id"]))

    def test_what_can_not_be_meant(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        for wrong in (
            ["--limit", "0"],
            ["--limit", "1001"],
            ["--cursor", "x"],
            ["--state", "lost"],
            ["--created-after", "soon"],
        ):
            cli.fails(2, "orders", "list", ORG, *wrong)


class TestListings:
    @pytest.fixture
    def listings(self, cli: Cli, sandbox: SandboxControl, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
        """Sixty listings, synced; as the sandbox has them, by id."""
        seller = sell(cli, f"listings-{request.node.name}", ORG, orders=1, listings=60)
        cli.shop.sync(ORG, "listings")
        return sorted(sandbox.truth(seller, "listings"), key=lambda row: str(row["id"]))

    def test_listed_shown_and_fetched(self, cli: Cli, listings: list[dict[str, Any]]) -> None:
        first = cli.json("listings", "list", ORG, "--limit", "35")
        rest = cli.json("listings", "list", ORG, "--limit", "35", "--cursor", first["next_cursor"])
        assert [row["listing_id"] for row in first["items"] + rest["items"]] == [row["id"] for row in listings]
        assert rest["next_cursor"] is None
        online = cli.json("listings", "list", ORG, "--state", "online", "--min-quantity", "1", "--limit", "1000")
        assert {row["listing_id"] for row in online["items"]} == {
            row["id"] for row in listings if row["publication_state"] == 1 and row["quantity"] >= 1
        }
        one = listings[7]
        for asked in ([one["id"]], [str(one["listing_id"])], ["--sku", one["sku"].lower()]):
            assert cli.json("listings", "show", ORG, *asked)["listing_id"] == one["id"]
        assert one["sku"] in cli.ok("listings", "list", ORG).stdout
        assert "raw" not in cli.json("listings", "show", ORG, one["id"])
        assert cli.json("listings", "fetch", ORG, one["id"], "--raw")["raw"] == one
        there = cli.json("listings", "fetch", ORG, one["id"], "--locale", "en-gb")
        assert (there["currency"], cli.json("listings", "show", ORG, one["id"])["currency"]) == ("GBP", "EUR")

    def test_what_can_not_be_meant(self, cli: Cli, listings: list[dict[str, Any]]) -> None:
        assert "online" in cli.fails(2, "listings", "list", ORG, "--state", "paid")
        assert "--sku SKU" in cli.fails(2, "listings", "show", ORG, "not-an-id")
        assert "no locale" in cli.fails(2, "listings", "fetch", ORG, listings[0]["id"], "--locale", "en-us")
        assert "No listing nothing" in cli.fails(3, "listings", "show", ORG, "--sku", "nothing")
        for wrong in ([], [listings[0]["id"], "--sku", "x"]):
            assert "either the listing's id" in cli("listings", "show", ORG, *wrong).stderr

    def test_in_several_markets(self, cli: Cli, sandbox: SandboxControl) -> None:
        seller = sell(cli, "market", ORG, orders=0, listings=3, markets=["de-de"])
        assert cli.ok("connections", "markets", ORG).stdout == "fr-fr\n"
        assert cli.ok("connections", "markets", ORG, "de-de", "es-es").stdout == "fr-fr de-de es-es\n"
        assert cli.json("connections", "markets", ORG)["markets"] == ["de-de", "es-es"]
        cli.shop.sync(ORG, "listings")
        cli.shop.sync(ORG, "listings", market="de-de")
        row = sandbox.truth(seller, "listings", "de-de")[0]
        shown = cli.json("listings", "show", ORG, row["id"], "--market", "de-de")
        assert (shown["price"], shown["market"]) == (row["price"], "de-de")
        side_by_side = cli.json("listings", "markets", ORG, row["id"])["items"]
        assert [each["market"] for each in side_by_side] == ["", "de-de"]
        assert "fr-fr" in cli.ok("listings", "markets", ORG, row["id"]).stdout
        assert len(cli.json("listings", "list", ORG, "--market", "de-de")["items"]) == 3
        assert row["price"] in cli.ok("listings", "export", ORG, "--market", "de-de").stdout
        requested = cli.json("sync", ORG, "--market", "de-de")["items"]
        assert [each["resource"] for each in requested] == ["listings"]
        requested_of = "SELECT market FROM backmarket.sync_state WHERE requested > served AND resource = 'listings'"
        assert cli.shop.execute(requested_of) == [("de-de",)]
        assert "listings/de-de" in cli.ok("status", ORG).stdout
        assert "no market" in cli.fails(2, "listings", "list", ORG, "--market", "it-it")
        assert cli.ok("connections", "markets", ORG, "--none").stdout == "fr-fr\n"


class TestShipments:
    @pytest.mark.parametrize("group", ["deliveries", "returns"])
    def test_listed_shown_and_fetched(self, cli: Cli, sandbox: SandboxControl, group: str) -> None:
        seller = sell(cli, group, ORG, orders=40, deliveries=30, returns=30)
        rows = {row["shipmentId"]: row for row in sandbox.truth(seller, group)}
        cli.shop.sync(ORG, group)
        listed = cli.json(group, "list", ORG, "--limit", "1000")["items"]
        assert {row["shipment_id"] for row in listed} == set(rows)
        assert [row["date_creation"] for row in listed] == sorted((r["date_creation"] for r in listed), reverse=True)
        key, row = next(iter(rows.items()))
        order = row["order" if group == "deliveries" else "orderId"]
        of_order = {each["shipment_id"] for each in cli.json(group, "list", ORG, "--order", str(order))["items"]}
        assert key in of_order
        scanned = cli.json(group, "list", ORG, "--hub-scanned", "--limit", "1000")["items"]
        assert {each["shipment_id"] for each in scanned} == {key for key, row in rows.items() if row["hubScanned"]}
        for command in ("show", "fetch"):
            shown = cli.json(group, command, ORG, str(key))
            assert (shown["shipment_id"], "tracking_number" in shown) == (key, False)
            assert cli.json(group, command, ORG, str(key), "--personal")["raw"] == row
            assert str(key) in cli.ok(group, command, ORG, str(key)).stdout
        assert str(key) in cli.ok(group, "list", ORG, "--limit", "1000").stdout
        noun = {"deliveries": "delivery", "returns": "return"}[group]
        assert f"No {noun} 5" in cli.fails(3, group, "show", ORG, "5")
        assert "this very account" in cli.fails(1, group, "fetch", ORG, "5")

    def test_returns_of_an_order_line_and_labels_that_are_left(self, cli: Cli, sandbox: SandboxControl) -> None:
        seller = sell(cli, "one-return", ORG, orders=10, returns=3)
        row = next(row for row in sandbox.truth(seller, "returns") if row["label"])
        cli.ok("returns", "fetch", ORG, str(row["shipmentId"]), "--no-labels")
        found = cli.json("returns", "list", ORG, "--orderline", str(row["orderlineId"]))["items"]
        assert [each["shipment_id"] for each in found] == [row["shipmentId"]]
        assert cli.shop.execute("SELECT state FROM backmarket.labels") == [("skipped",)]


class TestSchedule:
    def test_shown_and_changed(self, cli: Cli) -> None:
        sell(cli, "scheduled", ORG, orders=1)
        assert "5 min" in cli.ok("schedule", "show").stdout
        cli.ok("schedule", "set", "orders", "--interval", "90s", "--full-interval", "12h")
        cli.ok("schedule", "set", "returns", "--organization", ORG, "--off", "--no-labels")
        everybody = {entry["resource"]: entry for entry in cli.json("schedule", "show")["items"]}
        own = {entry["resource"]: entry for entry in cli.json("schedule", "show", ORG)["items"]}
        assert list(everybody) == list(RESOURCES)
        assert (everybody["orders"]["interval"], everybody["orders"]["full_interval"]) == (90.0, 43200.0)
        assert (everybody["returns"]["enabled"], own["returns"]["enabled"]) == (True, False)
        assert own["returns"]["own"] == ["enabled", "download_labels"]
        shown = cli.ok("schedule", "show", ORG).stdout
        assert "90 s" in shown
        assert "enabled, download_labels" in shown
        assert cli.json("schedule", "set", "returns", "--organization", ORG, "--inherit")["own"] == []

    def test_what_can_not_be_meant(self, cli: Cli) -> None:
        for wrong in (["socks", "--on"], ["orders"], ["orders", "--inherit"], ["orders", "--interval", "400d"]):
            cli.fails(2, "schedule", "set", *wrong)
        result = cli("schedule", "set", "orders", "--interval", "soon")
        assert (result.exit_code, "300, 90s, 5m, 2h or 1d" in " ".join(result.stderr.split())) == (2, True)


class TestSync:
    def test_a_request_is_answered_at_once(self, cli: Cli) -> None:
        sell(cli, "asked-for", ORG)
        assert cli.ok("sync", ORG).stdout.count("requested") == len(RESOURCES)
        (item,) = cli.json("sync", ORG, "--resource", "orders")["items"]
        assert (item["resource"], item["number"], item["outcome"]) == ("orders", 2, None)
        assert "no resource" in cli.fails(2, "sync", ORG, "--resource", "socks")
        cli.ok("sync", ORG, "--resource", "listings", "--accept-missing")
        asked = "SELECT resource FROM backmarket.sync_state WHERE accept_missing AND full_requested"
        assert cli.shop.execute(asked) == [("listings",)]

    def test_waiting_tells_what_was_done(self, cli: Cli) -> None:
        sell(cli, "waited-for", ORG, orders=60, listings=70)
        with worker(cli):
            lines = cli.ok("sync", ORG, "--wait").stdout.splitlines()
            assert [line.partition(" ")[0] for line in lines] == sorted(RESOURCES)
            assert "listings of auth0|1: 70 new" in lines[1]
            assert "orders of auth0|1: 60 new" in lines[2]
            assert cli.ok("sync", ORG, "--wait").stdout.count("nothing new") == len(RESOURCES)
            (item,) = cli.json("sync", ORG, "--wait", "--full", "--resource", "orders")["items"]
        assert item["outcome"]["rows_created"] == 0

    def test_labels_can_be_left(self, cli: Cli) -> None:
        sell(cli, "without-labels", ORG, orders=60, deliveries=5)
        with worker(cli):
            assert "5 new" in cli.ok("sync", ORG, "--resource", "deliveries", "--no-labels", "--wait").stdout
        assert cli.shop.execute("SELECT DISTINCT state FROM backmarket.labels") == [("skipped",)]

    def test_an_account_without_backship_is_well_all_the_same(self, cli: Cli) -> None:
        sell(cli, "no-backship", ORG, orders=5, backship=False)
        with worker(cli):
            lines = cli.ok("sync", ORG, "--wait").stdout.splitlines()
            assert "deliveries of auth0|1: not available to this account." in lines
            document = json.loads(cli.ok("sync", ORG, "--wait", "--json").stdout)
            assert "does not allow" in cli.fails(1, "sync", ORG, "--resource", "returns", "--wait")
        items = {item["resource"]: item for item in document["items"]}
        assert items["returns"]["error"]["code"] == "not_available"
        assert (items["orders"]["error"], items["returns"]["outcome"]) == (None, None)

    def test_a_failure_is_told_and_its_reason(self, cli: Cli) -> None:
        cli.ok("connections", "add", ORG, "--api-key-stdin", *at(cli), input=KEY)
        with worker(cli):
            assert "key" in cli.fails(4, "sync", ORG, "--resource", "orders", "--wait")

    def test_of_several_each_failure_is_told(self, cli: Cli) -> None:
        seller = sell(cli, "half-broken", ORG, orders=5)
        cli.shop.sandbox.add_fault("status", seller=seller, status=418, operation="listings.list")
        with worker(cli):
            result = cli("sync", ORG, "--wait")
        cli.shop.sandbox.remove_faults()
        assert (result.exit_code, result.stderr.count("Error: listings: ")) == (1, 1)
        assert len(result.stdout.splitlines()) == len(RESOURCES) - 1

    def test_without_a_worker_it_says_so_in_time(self, cli: Cli) -> None:
        sell(cli, "left-alone", ORG)
        assert "No worker" in cli.fails(6, "sync", ORG, "--resource", "orders", "--wait", "--timeout", "0.2")
        assert (
            cli("sync", ORG, "--wait", "--timeout", "0.2").stderr.count("The sync has not ended") == len(RESOURCES) - 1
        )

    def test_a_terminal_sees_how_far_it_is_and_ctrl_c_leaves_it_running(self, cli: Cli) -> None:
        sell(cli, "watched", ORG, orders=60)
        terminal = OnTerminal("sync", ORG, "--wait")
        terminal.wait_for("waiting for a worker")
        assert terminal.interrupt() == 130
        assert "Workers continue the sync" in terminal.shown
        assert cli.shop.run_slice(ORG, ask=False).end == "done"

    def test_status_tells_how_it_fares(self, cli: Cli) -> None:
        seller = sell(cli, "faring", ORG, orders=5)
        assert "never" in cli.ok("status").stdout
        assert "Nothing is failing" in cli.ok("status", "--failing").stderr
        cli.shop.sync(ORG)
        (item,) = [each for each in cli.json("status", ORG)["items"] if each["resource"] == "orders"]
        assert (item["state"], item["error"]) == ("ok", None)
        cli.shop.sandbox.add_fault("status", seller=seller, status=503)
        cli.shop.run_slice(ORG)
        cli.shop.sandbox.remove_faults()
        (item,) = cli.json("status", "--failing")["items"]
        assert (item["state"], item["error_code"]) == ("failing", "server_error")
        assert "server_error: " in cli.ok("status", ORG).stdout


class TestKeys:
    def test_rotation(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        cli.ok("connections", "add", ORG, "--api-key-stdin", *at(cli), input=KEY)
        old = os.environ["BACKMARKET_SECRET_KEYS"]
        new = cli.ok("keys", "generate").stdout.strip()
        monkeypatch.setenv("BACKMARKET_SECRET_KEYS", new)
        assert "BACKMARKET_SECRET_KEYS" in cli.fails(2, "keys", "rotate")
        monkeypatch.setenv("BACKMARKET_SECRET_KEYS", f"{new},{old}")
        assert "with the first of BACKMARKET_SECRET_KEYS: 1." in cli.ok("keys", "rotate").stderr
        monkeypatch.setenv("BACKMARKET_SECRET_KEYS", new)
        assert "does not accept" in cli.fails(4, "connections", "check", ORG)


class TestSurroundings:
    def test_a_missing_setting_is_named(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("BACKMARKET_DATABASE_URL")
        assert "Set BACKMARKET_DATABASE_URL" in cli.fails(2, "status")
        result = cli("status", "--json")
        assert (result.exit_code, result.stdout) == (2, "")
        assert json.loads(result.stderr)["error"]["code"] == "settings"

    @pytest.mark.slow
    def test_no_database(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BACKMARKET_DATABASE_URL", "postgresql://me:hidden-word@127.0.0.1:1/x")
        result = run("status")
        assert (result.returncode, result.stdout) == (5, "")
        assert len(result.stderr.splitlines()) == 1
        assert "hidden-word" not in result.stderr

    def test_no_redis(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        sell(cli, "no-redis", ORG)
        monkeypatch.setenv("BACKMARKET_REDIS_URL", "redis://:hidden-word@127.0.0.1:1/0")
        assert "hidden-word" not in cli.fails(5, "connections", "check", ORG)

    @pytest.mark.slow
    def test_a_closed_pipe_ends_it_quietly(self, cli: Cli, orders: list[dict[str, Any]]) -> None:
        for options in ([], ["--json"]):
            reader, writer = os.pipe()
            os.close(reader)
            result = run("orders", "list", ORG, *options, stdout=writer, stderr=subprocess.PIPE, capture_output=False)
            os.close(writer)
            assert "Traceback" not in result.stderr
            assert "Broken" not in result.stderr

    @pytest.mark.slow
    def test_a_terminal_that_knows_ascii_only(self, cli: Cli) -> None:
        sell(cli, "ascii", ODD)
        for command in (["connections", "list"], ["status"], ["connections", "show", ODD], ["--help"]):
            result = run(*command, env={**os.environ, "PYTHONIOENCODING": "ascii"})
            assert (result.returncode, result.stderr) == (0, "")
            assert result.stdout.isascii()

    def test_a_full_disk_is_a_sentence(self, cli: Cli) -> None:
        with Path("/dev/full").open("w") as full:
            result = run("status", "--json", stdout=full, stderr=subprocess.PIPE, capture_output=False)
        assert "Traceback" not in result.stderr


class TestSandbox:
    def test_it_tells_how_to_connect_and_ends_with_ctrl_c(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, started: Callable[..., subprocess.Popen[str]]
    ) -> None:
        sandbox = started("sandbox", "--port", "0", "--sellers", "2", "--orders", "30")
        assert sandbox.stdout is not None
        lines = iter(sandbox.stdout.readline, "")
        export = next(line for line in lines if "export" in line)
        connect = next(line for line in lines if "connections add" in line)
        monkeypatch.setenv("BACKMARKET_ALLOWED_BASE_URLS", export.split("=")[1].split()[0])
        path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(connect, shell=True, check=True, env={**os.environ, "PATH": path}, capture_output=True)
        assert "30 orders" in cli.ok("connections", "check", "seller-1").stderr
        sandbox.send_signal(signal.SIGINT)
        _, said = sandbox.communicate(timeout=PATIENCE_SECONDS)
        assert (sandbox.returncode, said) == (0, "")

    def test_a_taken_port_is_a_sentence(self, cli: Cli) -> None:
        port = cli.shop.sandbox.url.rpartition(":")[2]
        result = run("sandbox", "--port", port, "--orders", "1")
        assert result.returncode == 1
        assert result.stderr == f"Error: The sandbox can't listen on 127.0.0.1, port {port}: Address already in use.\n"

    def test_so_is_an_address_that_is_not_this_machines(self, cli: Cli) -> None:
        result = run("sandbox", "--host", "nowhere.invalid", "--port", "0", "--orders", "1")
        assert result.returncode == 1
        assert re.fullmatch(
            r"Error: The sandbox can't listen on nowhere\.invalid, port 0: [\w ]+\.\n", result.stderr
        ), result.stderr

    @pytest.fixture
    def started(self) -> Iterator[Callable[..., subprocess.Popen[str]]]:
        """Starts the real command; ends it with the test."""
        processes = []

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            processes.append(process)
            return process

        yield start
        for process in processes:
            process.kill()
            process.communicate()


class TestConsoleSessions:
    def test_they_are_listed_without_their_tokens_and_ended(self, cli: Cli) -> None:
        assert "No person is logged in" in cli.ok("console", "sessions", "list").stderr
        with BackMarket(cli.shop.settings) as bm:
            for number, name in enumerate(("anna", "anna", "otto")):
                session = NewSession(name, "operator", "password", "a hash", "192.0.2.1")
                bm.start_console_session(f"token {number}", session, Lifetime(60, 60), replaces="")
        listed = cli.json("console", "sessions", "list")["items"]
        assert sorted(each["person"] for each in listed) == ["anna", "anna", "otto"]
        assert "token" not in json.dumps(listed)
        assert "192.0.2.1" in cli.ok("console", "sessions", "list").stdout
        assert cli.ok("console", "sessions", "end", "--user", "anna").stderr == "Sessions ended: 2.\n"
        assert cli.json("console", "sessions", "end", "--all") == {"ended": 1}

    def test_whose_has_to_be_said(self, cli: Cli) -> None:
        for arguments in ([], ["--user", "anna", "--all"]):
            assert "--user NAME or --all" in cli("console", "sessions", "end", *arguments).stderr
