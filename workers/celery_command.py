"""Celery's command with our application, for `backmarket worker|beat|flower`."""

from __future__ import annotations

from collections.abc import Sequence

from celery.bin.celery import celery

from workers import app


def main(arguments: Sequence[str]) -> None:
    """Run it until it ends, and end this process.

    The application is imported already: Celery looks for it in the current directory first, where a host may have
    packages of these names.

    Args:
        arguments: Celery's, such as `["worker", "-Q", "orders"]`.
    """
    celery(args=["-A", app.__name__, "--quiet", *arguments], prog_name="backmarket", auto_envvar_prefix="CELERY")
