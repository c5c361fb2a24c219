"""The documentation: links lead somewhere, drawings are those of their sources, the reference leaves nothing out."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from backmarket.settings import ENV_PREFIX, Settings
from backmarket.standalone.programs import CHECKOUT
from scripts.docs_pages import pages

DRAWINGS = sorted((CHECKOUT / "docs" / "diagrams").glob("*.dot"))
READMES = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]  # the rest: `make docs`


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


def test_the_reference_leaves_nothing_out() -> None:
    made = dict(pages())
    tables = set(re.findall(r"CREATE TABLE IF NOT EXISTS backmarket\.(\w+)", (CHECKOUT / "schema.sql").read_text()))
    assert tables == set(re.findall(r"^## (\w+)$", made["reference/tables.md"], re.MULTILINE))
    assert "backmarket bulk submit" in made["reference/cli.md"]
    assert "`backmarket_tasks`" in made["reference/metrics.md"]


def test_every_setting_has_a_text_or_stands_in_the_example() -> None:
    example = (CHECKOUT / ".env.example").read_text()
    assert [name for name in Settings.model_fields if f"{ENV_PREFIX}{name.upper()}" not in example] == []
