"""The house: what is packaged, locked, listed and named."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest
from dotenv import dotenv_values
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from backmarket.errors import ENV_PREFIX
from backmarket.settings import Settings

CHECKOUT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
LOCK = (CHECKOUT / "requirements.lock").read_text()
PYTHONS = ("3.11.0", "3.11.9", "3.12.0", "3.13.0", "3.14.0")
MACHINES = ("x86_64", "aarch64")
CHOSEN = {"USER_AGENT"}
"""Settings whose example is not their default."""


def tracked() -> list[PurePosixPath]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    return [PurePosixPath(name) for name in names.split("\0") if name and (CHECKOUT / name).is_file()]


def test_the_wheel_holds_backmarket_with_its_schema_and_documents_only(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(CHECKOUT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()}
    info = f"backmarket-{PYPROJECT['project']['version']}.dist-info"
    assert {name.parts[0] for name in names} == {"backmarket", info}
    assert PurePosixPath("backmarket/schema.sql") in names
    assert {PurePosixPath("backmarket/_documents") / name for name in pointed_to()} <= names
    packaged = {name for name in tracked() if name.parts[0] == "backmarket"}
    assert packaged <= names


def pointed_to() -> set[str]:
    """The documents that errors and `doctor` name."""
    sources = (CHECKOUT / "backmarket").rglob("*.py")
    return {name for path in sources for name in re.findall(r"""document\(["']([^"']+)["']\)""", path.read_text())}


def test_no_message_names_a_document_that_an_installed_package_has_elsewhere() -> None:
    named = re.compile(r"""(?<!`)\b(docs/[\w./-]+\.md|\.env\.example)\b""")
    bare = [
        f"{path.relative_to(CHECKOUT)}: {text}"
        for path in (CHECKOUT / "backmarket").rglob("*.py")
        for text in texts(ast.parse(path.read_text()))
        if not named.fullmatch(text) and named.search(text)
    ]
    assert bare == []


def texts(tree: ast.Module) -> Iterator[str]:
    """The texts of a module that are no docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def wanted(environment: dict[str, str]) -> set[str]:
    """What the extras and the build need under a Python and a machine, as the installed packages tell it."""
    return wanted_of([*PYPROJECT["project"]["optional-dependencies"], "build"], environment)


def wanted_of(extras: list[str], environment: dict[str, str] | None = None) -> set[str]:
    """What some extras need, by default here; `build` is what the build does."""
    project = PYPROJECT["project"]
    groups = project["optional-dependencies"] | {"build": PYPROJECT["build-system"]["requires"]}
    environment = environment or {name: str(value) for name, value in default_environment().items()}
    waiting = [(Requirement(line), "") for line in project["dependencies"]]
    waiting += [(Requirement(line), "") for extra in extras for line in groups[extra]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, asked_by = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": asked_by}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            own = groups.get(extra, []) if name == project["name"] else needs_of(name)
            waiting += [(Requirement(line), extra) for line in own]
    return {name for name, _ in seen} - {project["name"]}


def needs_of(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []  # a name that this Python does not need; whether the lock has it is checked all the same


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_lacks_nothing(python: str, machine: str) -> None:
    environment = {name: str(value) for name, value in default_environment().items()}
    environment |= {"python_version": python.rpartition(".")[0], "python_full_version": python}
    environment |= {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine}
    locked = {canonicalize_name(name) for name in re.findall(r"(?m)^([\w.-]+)==", LOCK)}
    assert wanted(environment) - locked == set()


def test_the_lock_is_hashed_and_names_no_address() -> None:
    pins = re.findall(r"(?m)^[a-z0-9]\S*.*$", LOCK)
    assert pins
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ; [\w .'<!=]+)? \\", pin) for pin in pins)
    assert len(re.findall(r"(?m)^[a-z0-9]\S*.* \\\n    --hash=sha256:", LOCK)) == len(pins)
    assert not re.search(r"://|@|--index|--extra-index|--find-links|--trusted-host", LOCK)


def test_no_tracked_file_names_a_directory_of_a_machine() -> None:
    paths = re.compile(rb"(?<![\w.])/(work|root)" + b"/")
    guilty = [str(name) for name in tracked() if paths.search((CHECKOUT / name).read_bytes())]
    assert guilty == []


def test_every_room_has_a_name_of_its_own() -> None:
    parts = {part.removesuffix(".py") for name in tracked() for part in name.parts}
    assert parts & {"utils", "util", "helpers", "helper", "common", "misc"} == set()


def test_the_example_lists_every_setting_and_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    example = dotenv_values(CHECKOUT / ".env.example", interpolate=False)
    assert set(example) == {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    defaults = Settings()
    for name, value in example.items():
        monkeypatch.setenv(name, value or "")
    loaded = Settings()
    differing = {
        name.upper()
        for name in Settings.model_fields
        if example[f"{ENV_PREFIX}{name.upper()}"] and getattr(loaded, name) != getattr(defaults, name)
    }
    assert differing == CHOSEN


def test_the_example_explains_every_setting() -> None:
    lines = (CHECKOUT / ".env.example").read_text().splitlines()
    unexplained = [line for above, line in pairwise(lines) if line.startswith(ENV_PREFIX) and above[:2] != "# "]
    assert unexplained == []


def test_make_lists_every_target() -> None:
    targets = set(re.findall(r"(?m)^([a-z][\w-]*):", (CHECKOUT / "Makefile").read_text()))
    phony = re.search(r"(?m)^\.PHONY: (.*)$", (CHECKOUT / "Makefile").read_text())
    command = ["make", "--no-print-directory"]
    shown = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    assert targets >= {"help", "demo", "up", "test", "check", "lint", "lock", "clean"}
    assert set(re.findall(r"(?m)^  make (\S+)  +\S", shown)) == targets
    assert phony
    assert set(phony[1].split()) == targets


def test_there_is_one_version() -> None:
    """`pyproject.toml` has it; the command and the wheel read it from there, the others follow."""
    version = PYPROJECT["project"]["version"]
    latest = re.search(r"(?m)^## (\S+) - ", (CHECKOUT / "CHANGELOG.md").read_text())
    tag = re.search(r"newTag: (\S+)", (CHECKOUT / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
    assert latest
    assert tag
    assert (importlib.metadata.version("backmarket"), latest[1], tag[1]) == (version, version, version)
    literal = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.])")
    named = {str(name) for name in tracked() if name.suffix in {".py", ".toml", ".yaml", ".yml", ".sh"}}
    assert {name for name in named if literal.search((CHECKOUT / name).read_text())} == {
        "pyproject.toml",
        "deploy/kubernetes/kustomization.yaml",
    }


def test_the_changelog_keeps_its_form() -> None:
    text = (CHECKOUT / "CHANGELOG.md").read_text()
    releases = re.findall(r"(?m)^## (.*)$", text)
    kinds = set(re.findall(r"(?m)^### (.*)$", text))
    assert re.fullmatch(r"\d+\.\d+\.\d+ - (unreleased|\d{4}-\d\d-\d\d)", releases[0])
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", release) for release in releases[1:])
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_test_that_the_page_of_states_names_is_there() -> None:
    missing, file = list[str](), ""
    for path, name in re.findall(r"`([\w/]+\.py)?::(\w+)`", (CHECKOUT / "docs" / "states.md").read_text()):
        file = path or file
        if not re.search(rf"def {name}\(", (CHECKOUT / "tests" / file).read_text()):
            missing.append(f"{file}::{name}")
    assert file
    assert missing == []
