"""Celery's commands with our application: `python -m workers worker -Q orders`, as `celery -A workers.app worker` does.

Celery's own command loads all of its commands, and Flower's, for each process: 15 MB and half a second of CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from celery.bin.base import CLIContext

from workers import app


def main(arguments: Sequence[str]) -> None:
    """Run a command until it ends, and end this process.

    The application is imported already: Celery looks for it in the current directory first, where a host may have
    packages of these names.

    Args:
        arguments: Celery's, such as `["worker", "-Q", "orders"]`.
    """
    name, *options = arguments
    if name == "beat":
        app.app.conf.include = ()  # it sends the tasks by name
    if name in {"worker", "beat"}:
        command = getattr(import_module(f"celery.bin.{name}"), name)
        context = CLIContext(app=app.app, no_color=False, workdir=None, quiet=True)
        command.main(options, prog_name=f"backmarket {name}", auto_envvar_prefix=f"CELERY_{name.upper()}", obj=context)
    else:
        everything = import_module("celery.bin.celery").celery
        everything(
            args=["-A", app.__name__, "--quiet", *arguments], prog_name="backmarket", auto_envvar_prefix="CELERY"
        )
