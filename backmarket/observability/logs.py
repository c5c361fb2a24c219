"""Logs: a constant event name with fields; one JSON line an event in production, readable in a terminal.

Organization ids are the host application's strings: a JSON string or a quoted word, never raw text.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

from backmarket.observability.redaction import redact

_KEPT = frozenset(
    {
        *("event", "level", "timestamp", "logger", "raised", "at"),
        *("organization", "account", "resource", "run", "task", "task_id", "request_id"),
    }
)
"""Fields that are names of ours or the host application's ids, and are not searched for what looks personal."""

_OWN_NAMES: list[str] = []
"""What this process is called, if it has a name; see `name_process`."""

_STAND_IN = "⟨this process⟩"
"""Stands for that name while a text is searched for what looks personal."""


def name_process(name: str) -> None:
    """Let the lines of other libraries name this process, which to Celery is `sync@host`, much like a mail address.

    Args:
        name: as Celery has it.
    """
    _OWN_NAMES[:] = [name] if name else []


class LogSettings(Protocol):
    """What `configure` needs to know; `backmarket.settings.Settings` is one."""

    @property
    def log_format(self) -> str:
        """`auto`, `json` or `console`."""

    @property
    def log_level(self) -> str:
        """Such as `INFO`."""


class Logger:
    """A logger of structlog, made at its first line: structlog loads rich, which an application that logs nothing
    does without.

    Args:
        name: of the module that logs.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _logger(self) -> Any:
        import structlog

        return structlog.get_logger(self._name)

    def __getattr__(self, level: str) -> Any:
        """Such as `info`."""
        return getattr(self._logger, level)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields to each line that this thread logs within the block."""
    from structlog.contextvars import bound_contextvars

    with bound_contextvars(**fields):
        yield


def configure(settings: LogSettings) -> None:
    """Route structlog and the standard library's logging to standard error, in one form.

    Args:
        settings: `log_format` (`auto`: JSON unless standard error is a terminal) and `log_level`.
    """
    import structlog

    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    # `repr` of each text: a line break or an escape sequence in an organization id stays a text
    in_words = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), repr_native_str=True)
    renderer: Processor = structlog.processors.JSONRenderer() if as_json else in_words
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        exception_location,
        redact_fields,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[foreign_event, *shared],
            pass_foreign_args=True,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for noisy in ("httpx", "httpcore", "psycopg.pool", "celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def error_location(error: BaseException) -> dict[str, Any]:
    """Class of an exception and where it was raised, without its text, which may quote a customer's data.

    To be logged as fields: `log.exception` would print the text and every local variable in an application that
    uses this library without `configure`.
    """
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {"raised": type(error).__name__, "at": [f"{f.filename}:{f.lineno} {f.name}" for f in frames]}


def exception_location(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace an exception with its `error_location`."""
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event.update(error_location(error))
    event.pop("stack_info", None)
    return event


def redact_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blank what looks like a secret or a person's data in every free text of an event."""
    return {name: value if name in _KEPT or name[0] == "_" else _safe(value) for name, value in event.items()}


def foreign_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make an event of another library's log line.

    With an exception it is the line before its arguments were put in, for they quote the exception. Of a failed
    task Celery hands the name and the id beside it.
    """
    record: logging.LogRecord = event["_record"]
    arguments = event.pop("positional_args", None) or ()
    error = record.exc_info[1] if record.exc_info else None
    text = str(event["event"] if error is None else record.msg)
    about = getattr(record, "data", None)
    if error is not None and isinstance(about, dict):
        event.update(task=str(about.get("name")), task_id=str(about.get("id")))
    for each in (error, *(arguments.values() if isinstance(arguments, dict) else arguments)):
        if isinstance(each, BaseException):
            text = _without(text, each)
    event["event"] = _redacted(text)
    return event


def _redacted(text: str) -> str:
    """A text without what looks like a secret or a person's data; our own name stays."""
    for name in _OWN_NAMES:
        text = re.sub(rf"(?<!\S){re.escape(name)}(?!\S)", _STAND_IN, text)
    return redact(text).replace(_STAND_IN, "".join(_OWN_NAMES))


def _without(text: str, error: BaseException) -> str:
    """A text that quotes no exception of a chain."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for quoted in sorted({each for link in chain for each in (str(link), repr(link)) if each}, key=len, reverse=True):
        text = text.replace(quoted, "[redacted]")
    return text


def _safe(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case BaseException():
            return type(value).__name__
        case dict():
            return {redact(str(name)): _safe(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_safe(each) for each in value]
        case _:
            return redact(str(value))
