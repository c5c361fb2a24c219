"""Logs as they were: what a command run in the tests' own process configures, it configures for all tests after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logging_restored() -> Iterator[None]:
    """Take back what is done to handlers and levels meanwhile."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {logger: logger.level for logger in _loggers()}
    yield
    root.handlers[:] = handlers
    for logger in _loggers():
        level = levels.get(logger, logging.NOTSET)
        if logger.level != level:
            logger.setLevel(level)
    structlog.reset_defaults()


def _loggers() -> list[logging.Logger]:
    found = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(each for each in found if isinstance(each, logging.Logger))]
