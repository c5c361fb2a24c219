"""The documentation: links lead somewhere, drawings are those of their sources, the reference leaves nothing out."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from backmarket.cli.app import app
from backmarket.errors import ENV_PREFIX
from backmarket.settings import Settings
from backmarket.standalone.programs import CHECKOUT
from scripts.docs_pages import pages

DRAWINGS = sorted((CHECKOUT / "docs" / "diagrams").glob("*.dot"))
READMES = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]  # the rest: `make docs`
PAGES = [*READMES, CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").glob("**/*.md"))]
_COMMAND = re.compile(
    r"`(?P<named>backmarket )?(?P<inline>[^`\n]+)`|^(?:    )?(?:\w+=\S* )*backmarket (?P<line>.+)$", re.MULTILINE
)
"""In a sentence, often without its first word, or as a line to copy."""
_NOT_COMMANDS = {"console login", "console proxy", "db grant", "bulk resolve"}
"""Two ways to prove who acts, what decision 0009 rejects, and a name that the changelog calls old."""


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_shows_every_label_of_its_source(drawing: Path) -> None:
    shown = html.unescape(drawing.with_suffix(".svg").read_text()).replace("\u00a0", " ")
    for label in re.findall(r'label="([^"]+)"', drawing.read_text()):
        for line in label.split(r"\n"):
            assert f">{line}</text>" in shown, "make diagrams"


@pytest.mark.parametrize("page", READMES, ids=lambda path: path.stem)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (CHECKOUT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_are_there_with_their_options(page: Path) -> None:
    wrong = []
    for found in _COMMAND.finditer(page.read_text()):
        written = re.split(r" [#|>&]|[;)]", found["inline"] or found["line"])[0]
        words = re.sub(r"[\[\]]", "", written).split()
        is_named = found["named"] or found["line"] or (len(words) > 1 and words[0] in _ROOT.list_commands(_CONTEXT))
        if is_named and written not in _NOT_COMMANDS and not _is_command(words):
            wrong.append(written)
    assert wrong == []


_ROOT: Any = typer.main.get_command(app)
_CONTEXT = typer.Context(_ROOT)


def _is_command(words: list[str]) -> bool:
    command = _ROOT
    while hasattr(command, "list_commands") and words and not words[0].startswith("-"):
        command = command.get_command(typer.Context(command), words[0])
        words = words[1:]
        if command is None or command.hidden:
            return False
    options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= options | {"--help"}


def test_the_reference_leaves_nothing_out() -> None:
    made = dict(pages())
    tables = set(re.findall(r"CREATE TABLE IF NOT EXISTS backmarket\.(\w+)", (CHECKOUT / "schema.sql").read_text()))
    assert tables == set(re.findall(r"^## (\w+)$", made["reference/tables.md"], re.MULTILINE))
    assert "backmarket bulk submit" in made["reference/cli.md"]
    assert "`backmarket_tasks`" in made["reference/metrics.md"]


def test_the_reference_has_every_setting_with_its_meaning() -> None:
    page = dict(pages())["reference/settings.md"]
    rows = re.findall(r"^\| `(\w+)` \| [^|]*\| \S[^|]* \|$", page, re.MULTILINE)
    assert set(rows) == {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}


def test_each_title_of_the_reference_stands_alone() -> None:
    """A title right below a table would be one of its rows."""
    wrong = [page for page, text in pages() if re.search(r"^\|.*\n#", text, re.MULTILINE)]
    assert wrong == []


def test_the_list_of_commands_is_not_cut() -> None:
    assert not re.search(r"^\* `[\w-]+`: .*\.\.\.$", dict(pages())["reference/cli.md"], re.MULTILINE)
