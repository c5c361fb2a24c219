"""The `BackMarket` object of one command."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backmarket.facade import BackMarket


@contextmanager
def opened() -> Iterator[BackMarket]:
    """The object, made from the environment's settings, closed at the end. The operating system's user acts.

    Logs go to standard error; those below a warning only if `BACKMARKET_LOG_LEVEL` is set accordingly.

    Raises:
        SettingsError: if a setting is invalid.
    """
    from backmarket.audit import acting, this_user
    from backmarket.facade import BackMarket
    from backmarket.observability.logs import configure
    from backmarket.settings import load_settings

    settings = load_settings()
    quiet = {} if "log_level" in settings.model_fields_set else {"log_level": "WARNING"}
    configure(settings.model_copy(update=quiet))
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # logs each try; the error at the end says it once
    with BackMarket(settings) as bm, acting(this_user()):
        yield bm
