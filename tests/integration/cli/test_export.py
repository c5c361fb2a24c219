"""`export`: a whole list as CSV or as a JSON document a line, one page of it in memory."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from backmarket import BackMarket
from backmarket.cli.app import app
from backmarket.queries import pagination
from backmarket.settings import Settings
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment

ORG = "auth0|1"
LISTS = ("orders", "orderlines", "listings", "deliveries", "returns", "labels", "writes")
KEYS = {"orders": "order_id", "orderlines": "orderline_id", "listings": "listing_id", "writes": "id"}


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with fresh_sandbox() as sandbox:
        shop = Shop(settings, sandbox.control, ("orders", "listings", "deliveries", "returns"))
        shop.sell(ORG, orders=40)
        for name in shop.resources:
            shop.sync(ORG, name)
        yield shop
        shop.services.close()


def export(shop: Shop, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments[:1], "export", *arguments[1:]], env=environment(shop.settings))
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_each_list_is_whole_in_both_forms(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with BackMarket(shop.settings) as bm:
        whole = {name: [*getattr(bm, f"get_{name}")(ORG, limit=1000)] for name in LISTS}
        assert {name: bool(rows) for name, rows in whole.items()} == {name: name != "writes" for name in LISTS}
        monkeypatch.setattr(pagination, "MAX_PAGE_SIZE", 7)
        for name, rows in whole.items():
            assert [*getattr(bm, f"iter_{name}")(ORG)] == rows
    for name, rows in whole.items():
        key = KEYS.get(name, "shipment_id")
        wanted = [str(getattr(row, key)) for row in rows]
        assert [each[key] for each in csv.DictReader(export(shop, name, ORG).splitlines(), delimiter=";")] == wanted
        documents = [json.loads(line) for line in export(shop, name, ORG, "--format", "ndjson").splitlines()]
        assert [str(each[key]) for each in documents] == wanted


def test_filters_and_where_it_begins_are_those_of_the_page(shop: Shop) -> None:
    with BackMarket(shop.settings) as bm:
        first = bm.get_orders(ORG, limit=5)
        rest = [each.order_id for each in bm.iter_orders(ORG, cursor=first.next_cursor, limit=3)]
        assert [each.order_id for each in first] + rest == [each.order_id for each in bm.iter_orders(ORG)]
        states = {each.state for each in bm.iter_orders(ORG, state=9)}
        assert states == {9}


def test_personal_data_comes_only_where_it_is_asked_for(shop: Shop) -> None:
    shop.execute('UPDATE backmarket.orders SET shipping_address = \'{"city": "Lutetia"}\'')
    for form in ("csv", "ndjson"):
        assert "Lutetia" not in export(shop, "orders", ORG, "--format", form)
        assert "Lutetia" in export(shop, "orders", ORG, "--format", form, "--personal")
    assert "raw" not in export(shop, "orders", ORG, "--personal").splitlines()[0]
    assert "raw" in json.loads(export(shop, "orders", ORG, "--personal", "--format", "ndjson").splitlines()[0])


def test_no_cell_is_a_formula(shop: Shop) -> None:
    shop.execute("UPDATE backmarket.orderlines SET product = '=HYPERLINK(1)', brand = '-2+3', price = -5")
    row = next(csv.DictReader(export(shop, "orderlines", ORG).splitlines(), delimiter=";"))
    assert (row["product"], row["brand"], row["price"]) == ("'=HYPERLINK(1)", "'-2+3", "-5")


def test_an_empty_list_has_its_header_and_a_mistyped_id_is_no_empty_list(shop: Shop) -> None:
    (header,) = export(shop, "writes", ORG).splitlines()
    assert '"object_id"' in header
    result = CliRunner().invoke(app, ["orders", "export", "none"], env=environment(shop.settings))
    assert (result.exit_code, result.stdout) == (3, "")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_two_hundred_thousand_orders_take_no_more_memory_than_two_thousand(shop: Shop, form: str) -> None:
    peaks = []
    for rows in (2_000, 200_000):
        shop.execute("DELETE FROM backmarket.orders")
        shop.execute(MANY, rows)
        peaks.append(peak_of_export(shop, form, rows))
    assert peaks[1] < peaks[0] + 10, f"{peaks} MB"


MANY = """
INSERT INTO backmarket.orders (organization_id, order_id, state, date_creation, content, raw, shipping_address)
SELECT 'auth0|1', number, 9, now() - number * interval '1 minute', 0, jsonb_build_object('filler', repeat('x', 2000)),
    jsonb_build_object('city', repeat('y', 200))
FROM generate_series(1, %s) AS number
"""

PEAK = """
import resource, subprocess, sys
from pathlib import Path
wc = subprocess.Popen(["wc", "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
done = subprocess.run([Path(sys.executable).with_name("backmarket"), *sys.argv[1:]], stdout=wc.stdin)
wc.stdin.close()
print(done.returncode, wc.stdout.read().strip(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def peak_of_export(shop: Shop, form: str, rows: int) -> int:
    """The most memory that the command held, in MB."""
    words = (sys.executable, "-c", PEAK, "orders", "export", ORG, "--format", form)
    shown = subprocess.run(words, env=os.environ | environment(shop.settings), check=True, stdout=subprocess.PIPE)
    code, lines, peak = map(int, shown.stdout.split())
    assert (code, lines) == (0, rows + (form == "csv"))
    return peak
