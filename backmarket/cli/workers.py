"""`backmarket worker`, `beat`, `flower` and `metrics`: the processes of a deployment, from an installed package too."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from backmarket.cli.parameters import examples
from backmarket.cli.running import import_or_explain

_CELERYS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Options that are not ours are Celery's."""


class PoolName(StrEnum):
    """The pools of `backmarket.standalone.pools`."""

    SYNC = "sync"
    BULK = "bulk"
    LABELS = "labels"
    WRITES = "writes"
    EVENTS = "events"
    DISPATCH = "dispatch"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        context_settings=_CELERYS,
        epilog=examples("worker --pool all", "worker --pool sync -c 32", "worker --pool labels -n labels-2@%h"),
    )(worker)
    app.command(context_settings=_CELERYS)(beat)
    app.command(context_settings=_CELERYS, epilog=examples("flower --port=5555"))(flower)
    app.command()(metrics)


def worker(
    ctx: typer.Context,
    pool: Annotated[
        PoolName, typer.Option(help="Kind of work; `all` is one process for everything, for a few organizations.")
    ],
) -> None:
    """Run a worker until SIGTERM or Ctrl-C.

    A deployment needs a worker of each pool (or one of `all`), and beat. Start as many as you like, on any host.
    Every other option is Celery's, such as -c (tasks at a time), -n (name) and -l; `celery worker --help` lists them.
    """
    chosen = import_or_explain("backmarket.standalone.pools").of_name(pool)
    _celery(
        *("worker", "--without-gossip", "--without-mingle"),
        *("-n", f"{chosen.name}@%h", "-Q", ",".join(chosen.queues), "-c", str(chosen.concurrency)),
        *ctx.args,
    )


def beat(ctx: typer.Context) -> None:
    """Run beat, which sends the ticks, until SIGTERM or Ctrl-C. Two do no harm.

    Other options are Celery's.
    """
    _celery("beat", *ctx.args)


def flower(ctx: typer.Context) -> None:
    """Run Flower, the monitor of workers and tasks, until SIGTERM or Ctrl-C.

    It needs a login: FLOWER_BASIC_AUTH=user:password. Other options are Flower's.
    """
    _celery("flower", *ctx.args)


def metrics() -> None:
    """Serve the metrics of the whole deployment at BACKMARKET_HEALTH_PORT, for Prometheus, until SIGTERM or Ctrl-C."""
    raise typer.Exit(_load("workers.metrics.__main__").main())


def _celery(*arguments: str) -> None:
    _load("workers.celery_command").main(arguments)


def _load(module: str) -> Any:
    return import_or_explain(module, import_or_explain("backmarket.standalone.programs").load)
