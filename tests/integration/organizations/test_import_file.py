"""Many organizations from a CSV file: connected in batches, each once, and the others refused without their cells."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from backmarket import BackMarket
from backmarket.cli.app import app
from backmarket.errors import InvalidArgument
from backmarket.organizations import import_file
from backmarket.organizations.import_file import ImportReport, RefusedRow
from backmarket.sandbox import SandboxControl
from backmarket.services import Services
from backmarket.settings import Settings
from tests.support.sellers import Shop, environment

HEADER = "organization,key,environment,region,locale\n"
SECRET = "c2VjcmV0LWtleS1vZi1hLXNlbGxlcg"


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl) -> Iterator[Shop]:
    sandbox.remove_faults()
    shop = Shop(settings, sandbox)
    yield shop
    shop.services.close()


@pytest.fixture
def bm(shop: Shop) -> Iterator[BackMarket]:
    with BackMarket(shop.settings) as bm:
        yield bm


def file_of(*rows: str) -> io.BytesIO:
    return io.BytesIO((HEADER + "".join(f"{row}\n" for row in rows)).encode())


def test_each_row_is_connected_as_one_by_one(bm: BackMarket, shop: Shop) -> None:
    bm.upsert_connection("one", "key-1", region="NA", environment="sandbox")
    report = bm.import_connections(file_of("two,key-1,Sandbox,na,", "three,key-3", "four,key-4,,AP,en-au"))
    assert report == ImportReport(rows=3, connected=3)
    markets = {each.organization_id: (each.environment, each.region, each.locale) for each in bm.get_connections()}
    assert markets == {
        "one": ("sandbox", "NA", "en-us"),
        "two": ("sandbox", "NA", "en-us"),
        "three": ("production", "EU", "fr-fr"),
        "four": ("production", "AP", "en-au"),
    }
    one, two = (shop.execute(STATES, each) for each in ("one", "two"))
    assert len(one) == 4
    assert one == two
    entries = [(each.action, each.organization_id, each.outcome) for each in bm.audit()]
    assert sorted(entries) == [("connection.add", each, "done") for each in ("four", "one", "three", "two")]


STATES = """
SELECT c.account, c.enabled, c.base_url, s.resource, s.lease_number = c.generation, s.next_due_at - c.created_at,
    s.full_walk_due_at - c.created_at
FROM backmarket.connections c JOIN backmarket.sync_state s USING (organization_id)
WHERE organization_id = %s ORDER BY s.resource
"""


def test_a_second_run_goes_on_after_the_first(bm: BackMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_file, "BATCH_ROWS", 2)
    rows = [f"org-{number},key-{number}" for number in range(5)]

    def stop(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bm.import_connections(file_of(*rows), progress=stop)
    assert bm.import_connections(file_of(*rows)) == ImportReport(rows=5, connected=1, unchanged=4)
    assert bm.import_connections(file_of(*rows)) == ImportReport(rows=5, unchanged=5)
    assert len([each for each in bm.audit() if each.action == "connection.add"]) == 5


REFUSED = {
    "connected otherwise": ("before,another-key", "is connected otherwise"),
    "twice": ("good,key-2", "A row above names the same organization"),
    "no organization": (f",{SECRET}", "has 1 to 200 characters"),
    "no key": ("lonely", "not one word"),
    "a key of two words": (f"a,Basic {SECRET}", "without `Basic`"),
    "no such region": (f"a,key,production,{SECRET}", "the regions are EU, NA, AP"),
    "no such environment": (f"a,key,{SECRET}", "the environments are production, sandbox"),
    "no such locale": (f"a,key,,NA,{SECRET}", "Region NA has no such locale; it has en-us"),
    "too many cells": (f"a,key,,,,{SECRET}", "more cells than the header"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_row_that_cannot_be_connected_is_refused_with_its_line(bm: BackMarket, case: str) -> None:
    row, reason = REFUSED[case]
    bm.upsert_connection("before", "key-0")
    report = bm.import_connections(file_of("good,key-1", "", row, "last,key-3"))
    assert (report.rows, report.connected) == (3, 2)
    (refused,) = report.refused
    assert (refused.row, refused.code) == (4, "invalid_argument")
    assert reason in refused.reason
    assert SECRET not in str(report)
    (entry,) = [each for each in bm.audit() if each.outcome == "refused"]
    assert (entry.action, entry.details, entry.organization_id) == ("connection.add", {"row": 4}, None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"organization;token\n", "must name the columns"),
        (b"", "must name the columns"),
        (b"organization,key,key\n", "must name the columns"),
        (b"organization,key\na,\xff\n", "is not UTF-8"),
        (b'organization,key\na,"open\n', "unexpected end of data"),
    ],
)
def test_another_file_is_refused_whole(bm: BackMarket, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        bm.import_connections(io.BytesIO(content))
    assert bm.get_connections() == []


def test_a_file_as_a_spreadsheet_writes_it(bm: BackMarket) -> None:
    content = '\ufeffOrganization;Key;Region\r\n"a;b";key-1;EU\r\n;;\r\n'.encode()
    assert bm.import_connections(io.BytesIO(content)) == ImportReport(rows=1, connected=1)
    assert [each.organization_id for each in bm.get_connections()] == ["a;b"]


def test_a_dry_run_tells_the_same_and_connects_nothing(bm: BackMarket) -> None:
    rows = ("good,key-1", "bad,two words", "better,key-3")
    report = bm.import_connections(file_of(*rows), dry_run=True)
    assert (report.connected, [each.row for each in report.refused]) == (2, [3])
    assert (bm.get_connections(), bm.audit().items) == ([], [])
    assert bm.import_connections(file_of(*rows)) == report


def test_only_keys_that_the_api_accepts_are_connected(bm: BackMarket, shop: Shop) -> None:
    for name in ("a", "b"):
        shop.sandbox.add_seller(name, f"token-{name}", orders=1)
    rows = ("a,token-a", "x,wrong", "b,token-b")
    for dry_run in (True, False):
        report = bm.import_connections(file_of(*rows), check=True, dry_run=dry_run, base_url=shop.sandbox.url)
        assert report == ImportReport(3, 2, 0, [RefusedRow(3, "unauthorized", report.refused[0].reason)])
    assert [each.organization_id for each in bm.get_connections()] == ["a", "b"]


def test_many_refused_keys_end_the_checks(bm: BackMarket, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_file, "MAX_REFUSED_KEYS", 8)
    rows = [f"org-{number},wrong-{number}" for number in range(20)]
    before = len(shop.sandbox.requests())
    report = bm.import_connections(file_of(*rows), check=True, base_url=shop.sandbox.url)
    assert [each.code for each in report.refused] == ["unauthorized"] * 20
    assert report.refused[-1].reason.startswith("Not checked, as 8 other keys were refused")
    assert len(shop.sandbox.requests()) - before == 8


def test_an_organization_that_another_process_connects_meanwhile_stays(
    bm: BackMarket, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect_meanwhile(services: Services, *_: object) -> int:
        with BackMarket(shop.settings) as another:
            another.upsert_connection("a", "their-key")
        return 0

    monkeypatch.setattr(import_file, "_check_keys", connect_meanwhile)
    report = bm.import_connections(file_of("a,key-1", "b,key-2"), check=True)
    assert (report.connected, [each.row for each in report.refused]) == (1, [2])
    assert [each.outcome for each in bm.audit() if each.organization_id == "a"] == ["done"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(bm: BackMarket, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "sellers.csv"
    path.write_bytes(file_of("a,key-1").getvalue())
    path.chmod(mode)
    with pytest.raises(InvalidArgument, match=f"mode {mode:04o}.*chmod 600"):
        bm.import_connections(path)
    path.chmod(0o600)
    assert bm.import_connections(path).connected == 1


def test_the_command_reads_a_file_or_standard_input(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "sellers.csv"
    path.write_bytes(file_of("a,key-1", f"b,{SECRET} {SECRET}").getvalue())
    path.chmod(0o600)

    def run(*arguments: str, given: bytes | None = None) -> tuple[int, str, str]:
        words = ["connections", "import", *arguments]
        result = CliRunner().invoke(app, words, env=environment(shop.settings), input=given)
        assert SECRET not in result.output
        return result.exit_code, result.stdout, result.stderr

    code, shown, said = run(str(path), "--dry-run")
    assert (code, said) == (1, "1 would be connected; 0 were before; 1 refused.\n")
    assert shown.splitlines()[1].startswith("3     The API key is not one word")
    code, shown, _ = run("-", "--json", given=path.read_bytes())
    document = json.loads(shown)
    assert (code, document["connected"], document["refused"][0]["row"]) == (1, 1, 3)
    code, _, said = run("-", given=file_of("a,key-1").getvalue())
    assert (code, said) == (0, "0 connected, their syncs are due now; 1 were before; 0 refused.\n")
    assert run(os.fspath(tmp_path / "none.csv"))[0] == 2


def test_a_batch_costs_the_same_statements_whatever_it_holds(bm: BackMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0
    execute = psycopg.Cursor.execute

    def counted(cursor: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        return execute(cursor, *arguments, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    counts = []
    for rows in (1, 300):
        sent = 0
        bm.import_connections(file_of(*(f"{rows}-{number},key-{number}" for number in range(rows))))
        counts.append(sent)
    assert counts[0] == counts[1] + 2, "a connection looks for a pooler, the first transaction at its role"
