"""`make release` builds only what can be released: each refusal, before anything is built."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backmarket.standalone.programs import CHECKOUT

GIT = ("git", "-c", "user.name=tests", "-c", "user.email=tests@company.example", "-c", "commit.gpgsign=false")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with what the script reads, ready to be released."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/release", "pyproject.toml", "CHANGELOG.md"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    change(tmp_path / "CHANGELOG.md", r"(?m)^## (\d\S+) - .*$", r"## \1 - 2027-01-31")
    (tmp_path / ".gitignore").write_text(".venv\n")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def test_changes_that_are_not_committed(checkout: Path) -> None:
    (checkout / "new.py").touch()
    assert "Commit them first" in refused(checkout)


def test_a_changelog_without_the_day(checkout: Path) -> None:
    change(checkout / "CHANGELOG.md", "2027-01-31", "unreleased")
    commit(checkout)
    assert "YYYY-MM-DD" in refused(checkout)


def test_a_version_that_has_a_tag(checkout: Path) -> None:
    version = re.findall(r'^version = "(.*)"$', (checkout / "pyproject.toml").read_text(), re.MULTILINE)[0]
    git(checkout, "tag", f"v{version}")
    assert "Raise the version" in refused(checkout)


def refused(checkout: Path) -> str:
    done = subprocess.run([checkout / "scripts" / "release"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not (checkout / "dist").exists()
    return done.stderr


def change(path: Path, old: str, new: str) -> None:
    text, count = re.subn(old, new, path.read_text())
    assert count
    path.write_text(text)


def commit(checkout: Path) -> None:
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "A state")


def git(checkout: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=checkout, check=True)
