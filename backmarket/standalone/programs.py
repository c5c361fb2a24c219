"""The packages `workers` and `tasks`, which hold the Celery application: where they lie, and how a process gets them.

In a checkout and in the image they are beside this package. The wheel has them inside it, where no import of a host
application meets them: their names are too common to be installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from backmarket.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[2]
"""Root of the checkout. Of an installed package it is the directory that packages are installed into."""

_PACKAGES = ("tasks", "workers")


def directory() -> Path:
    """The directory that holds `workers` and `tasks`: the working directory of a process that runs `workers.app`.

    Raises:
        UsageError: if this installation has neither.
    """
    for each in (CHECKOUT / "backmarket" / "_programs", CHECKOUT):
        if (each / "workers" / "app.py").is_file():
            return each
    raise UsageError(
        "The packages `workers` and `tasks` are missing. Install backmarket from its wheel, or run a checkout."
    )


def load(module: str) -> Any:
    """Import a module of `workers`, for this process and before anything of these names in its current directory.

    Args:
        module: its name, such as `workers.celery_command`.

    Raises:
        UsageError: if this installation has no workers.
    """
    sys.path.insert(0, str(directory()))
    for package in _PACKAGES:
        import_module(package)
    return import_module(module)
