"""What a log line shows, in both forms: fields that a machine reads, and never a text that quotes a person."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import structlog
from celery import Celery
from celery.app.trace import build_tracer
from hypothesis import HealthCheck, given
from hypothesis import settings as testing
from hypothesis import strategies as st

from backmarket.observability import logs
from backmarket.services.request_threads import RequestThreads
from backmarket.settings import Settings
from tests.support.waiting import PATIENCE_SECONDS

MAIL, PHONE, TOKEN = "victor.hugo@example.com", "+33 6 12 34 56 78", "dG9rZW4tdGhhdC1ub2JvZHktbWF5LXNlZQ" * 2
NAME = "Victor Hugo, 6 place des Vosges"
SECRETS = (MAIL, PHONE, TOKEN)
ODD_ORGANIZATIONS = [
    'a"b',
    "a\nINFO forged",
    "a\r\nb",
    "\x1b[31mred",
    "a'b",
    "a b",
    "é",
    "\u202eabc",
    "\ud800",
    "a=b",
    "\0",
]

Lines = Callable[[], list[str]]


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was logged, in one form and then in the other."""
    yield from configured(request.param, monkeypatch)


@pytest.fixture
def json_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    yield from configured("json", monkeypatch)


def configured(form: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    stderr = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        logs.configure(Settings(log_format=form))
        yield lambda: stderr.getvalue().splitlines()


def ours() -> structlog.stdlib.BoundLogger:
    made: structlog.stdlib.BoundLogger = structlog.get_logger("backmarket.test")
    return made


def crash(text: str) -> None:
    raise ValueError(text)


def chained_crash() -> None:
    try:
        crash(NAME)
    except ValueError as error:
        raise RuntimeError("while storing") from error


def test_a_line_is_an_event_with_fields(json_lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(organization="org", task="t"):
        ours().info("sync.slice", requests=3, end="done", part=None, share=0.5)
    (line,) = json_lines()
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "event": "sync.slice",
        "level": "info",
        "logger": "backmarket.test",
        "organization": "org",
        "task": "t",
        "requests": 3,
        "end": "done",
        "part": None,
        "share": 0.5,
    }


@pytest.mark.parametrize("organization", ODD_ORGANIZATIONS)
def test_an_organization_id_stays_on_its_line(lines: Lines, organization: str) -> None:
    with structlog.contextvars.bound_contextvars(organization=organization):
        ours().info("sync.slice")
    (line,) = lines()
    assert line.isprintable()
    if line.startswith("{"):
        assert json.loads(line)["organization"] == organization
    else:
        assert f"organization={organization!r}" in line


@testing(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(organization=st.text())
def test_any_organization_id_is_one_line_of_json(json_lines: Lines, organization: str) -> None:
    ours().info("sync.slice", organization=organization)
    assert json.loads(json_lines()[-1])["organization"] == organization


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: f"wrong: {text}!",
        lambda text: [text],
        lambda text: {"deep": {"er": (text,)}},
        lambda text: {text: 1},
        ValueError,
        lambda text: SimpleNamespace(said=text),
        lambda text: text.encode(),
    ],
)
def test_free_fields_are_blanked(lines: Lines, secret: str, wrap: Callable[[str], object]) -> None:
    ours().error("sync.failed", error=wrap(secret))
    (line,) = lines()
    assert secret not in line


def test_ids_are_kept_whole(json_lines: Lines) -> None:
    ids = dict.fromkeys(("request_id", "task_id", "organization", "account"), "6b1f0d6c94a14b8e9d502f3d5a1f7c11" * 2)
    ours().warning("sync.failed", **ids)
    found = json.loads(json_lines()[0])
    assert {name: found[name] for name in ids} == ids


@pytest.mark.parametrize("crashing", [lambda: crash(NAME), chained_crash])
def test_an_exception_is_its_class_and_place(lines: Lines, crashing: Callable[[], None]) -> None:
    try:
        crashing()
    except Exception as error:
        kind = type(error).__name__
        ours().exception("sync.crashed")
        ours().error("sync.crashed", exc_info=error)
        ours().error("sync.crashed", **logs.error_location(error))
        logging.getLogger("foreign").exception("stopped")
        logging.getLogger("foreign").exception("stopped by %s", error)
        logging.getLogger("foreign").error("stopped by %s", error)
        logging.getLogger("foreign").error(f"stopped by {error!r}", exc_info=error)  # noqa: G004
        logging.getLogger("foreign").error(f"because of {error.__cause__}", exc_info=error)  # noqa: G004
        logging.getLogger("foreign").exception("stopped, having read %s", NAME[:11])
    shown = lines()
    assert len(shown) == 9
    assert "Hugo" not in "".join(shown)
    assert ["test_logs.py" in line and kind in line for line in shown] == [True] * 5 + [False] + [True] * 3


@pytest.mark.parametrize("secret", SECRETS)
def test_lines_of_other_libraries_are_blanked(lines: Lines, secret: str) -> None:
    logging.getLogger("foreign").warning("can't reach %s\n\x1b[31mnow", secret, extra={"buyer": secret})
    (line,) = lines()
    assert secret not in line
    assert "[redacted] [31mnow" in line


def test_a_process_may_be_named_but_no_person(lines: Lines) -> None:
    logs.name_process("sync@host-1.example")
    try:
        logging.getLogger("foreign").info("sync@host-1.example ready, asked by %s and resync@host-1.example", MAIL)
    finally:
        logs.name_process("")
    (line,) = lines()
    assert "sync@host-1.example ready, asked by [redacted] and [redacted]" in line


def test_celerys_own_line_of_a_crash_names_the_task_only(lines: Lines) -> None:
    app = Celery("test", broker="memory://", set_as_current=False)

    @app.task(name="test.crashing")
    def crashing(text: str) -> None:
        raise ValueError(text)

    build_tracer(crashing.name, crashing, app=app)("an-id", (NAME,), {}, {"id": "an-id", "argsrepr": repr((NAME,))})
    (line,) = lines()
    assert "Hugo" not in line
    assert all(part in line for part in ("test.crashing", "an-id", "ValueError", "test_logs.py"))


@pytest.mark.parametrize("configure", [True, False], ids=["configured", "not configured"])
def test_a_crashed_task_tells_no_text(configure: bool) -> None:
    """An application that never calls `configure` sees structlog's own form, with every local variable."""
    program = f"""
from celery import Celery
from backmarket.observability import logs
from backmarket.settings import Settings
from tasks.base import BackMarketTask
if {configure}:
    logs.configure(Settings(log_format="console"))

class Crashing(BackMarketTask):
    name = "crashing"
    def run(self, text):
        raise ValueError(text)

task = Celery("test", broker="memory://").register_task(Crashing())
outcome = task.apply(({NAME!r},)).result
print(type(outcome).__name__, outcome)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )
    shown = ran.stdout + ran.stderr
    assert "task.crashed" in shown
    assert "Crashed Internal error, ValueError" in shown
    assert "Hugo" not in shown
    assert "<string>:12 run" in shown


def test_auto_is_json_unless_standard_error_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for shown in configured("auto", monkeypatch):
        ours().info("sync.slice")
        assert json.loads(shown()[0])["event"] == "sync.slice"


def test_quiet_libraries_and_levels(json_lines: Lines) -> None:
    for name in ("httpx", "httpcore", "celery.app.trace"):
        logging.getLogger(name).info("GET %s", MAIL)
    ours().debug("sync.detail")
    assert json_lines() == []


def test_a_run_is_named_as_its_row_is(json_lines: Lines) -> None:
    run = "2026-11-26T15:35:43.128501+00:00"
    ours().info("sync.slice", run=run)
    assert json.loads(json_lines()[0])["run"] == run


def test_what_threads_that_fetch_say_names_the_organization(json_lines: Lines) -> None:
    request_threads = RequestThreads(1)
    with structlog.contextvars.bound_contextvars(organization="org", resource="orders", run="then", task="t"):
        request_threads.reserve(1, patience=1)
        request_threads.submit(lambda: ours().info("limiter.complete_failed")).result(PATIENCE_SECONDS)
    request_threads.reserve(1, patience=1)
    request_threads.submit(lambda: ours().info("of nobody")).result(PATIENCE_SECONDS)
    request_threads.close()
    bound, unbound = (json.loads(line) for line in json_lines())
    assert {name: bound[name] for name in ("organization", "resource", "run", "task")} == {
        "organization": "org",
        "resource": "orders",
        "run": "then",
        "task": "t",
    }
    assert "organization" not in unbound
