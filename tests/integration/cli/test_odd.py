"""Every command, with odd values for each of its parameters: a sentence, and an exit code that scripts can trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from backmarket.cli.app import app
from backmarket.errors import ENV_PREFIX
from backmarket.resources import RESOURCES
from backmarket.settings import Settings
from tests.integration.cli.test_commands import as_text
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop

ORG = "auth0|1"
FOR_EVER = {"sandbox", "demo", "up"}
ODD = (
    "", " ", "-1", "0", "9" * 400, "1" * 25, "1e999", "nan", "None", "é", "\u202e", "\x1b[31m", "\n", "\udc80", "a\0b",
    "x" * 9000, "%s{0}", "'; DROP", "../../etc/passwd", "[red]", "2026-02-30", "0001-01-01T00:00:00+14:00", "٣", "/",
    "9999-12-31T23:59:59-14:00", "1d", "99999999999d", "{}",
)  # fmt: skip


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All that come to an end by themselves."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif name not in FOR_EVER:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def lines(path: tuple[str, ...], dice: Random) -> Iterator[list[str]]:
    """Command lines with one odd value each, which wait for nobody and ask nothing; the dice choose the values."""
    command = COMMANDS[path]
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    head = [*path, *sorted({"--no-wait", "--yes"} & known)]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    for parameter in command.params:
        odd = dice.choice(ODD)
        if parameter in arguments:
            yield [*head, "--", *(odd if each is parameter else usual(each) for each in arguments)]
        elif not parameter.is_flag:
            yield [*head, f"{parameter.opts[0]}={odd}", "--", *map(usual, arguments)]


def usual(argument: Any) -> str:
    match argument.make_metavar(None) if argument.metavar is None else argument.metavar:
        case "ORG":
            return ORG
        case "FILE":
            return "lines.csv"
    return "1"


@pytest.fixture
def shop(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shop]:
    with fresh_sandbox(limit=100_000) as sandbox:
        settings = settings.model_copy(update={"rate_limit": 100_000})
        shop = Shop(settings, sandbox.control, tuple(RESOURCES))
        for name in (*settings.model_fields_set, "rate_limit", "allowed_base_urls"):
            monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", as_text(getattr(shop.settings, name)))
        shop.sell(ORG, orders=20, listings=5, deliveries=5, returns=5)
        for name in RESOURCES:
            shop.sync(ORG, name)
        (tmp_path / "lines.csv").write_text("sku;quantity\nA;1\n")
        monkeypatch.chdir(tmp_path)
        yield shop
        shop.services.close()


@pytest.mark.slow
def test_every_command_says_what_is_wrong(shop: Shop) -> None:
    dice = Random(8)
    tried = [line for path in sorted(COMMANDS) for line in lines(path, dice)]
    assert len(tried) > len(COMMANDS)
    for line in tried:
        result = CliRunner().invoke(app, line, input="key\n")
        assert result.exception is None or isinstance(result.exception, SystemExit), line
        assert result.exit_code in range(7), line
        assert result.exit_code == 0 or result.stderr.strip(), line
        assert not {"\x1b", "\u202e"} & set(result.output), line
