"""The columns of a table as Django's fields, read from `schema.sql`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models

from backmarket.database.schema import schema_text

TYPES: dict[str, Callable[..., Any]] = {
    "bigint": models.BigIntegerField,
    "boolean": models.BooleanField,
    "integer": models.IntegerField,
    "jsonb": models.JSONField,
    # the column has no bounds; Django wants some, and shows two decimal places
    "numeric": partial(models.DecimalField, max_digits=38, decimal_places=2),
    "text": models.TextField,
    "text[]": partial(ArrayField, models.TextField()),
    "timestamptz": models.DateTimeField,
    "uuid": models.UUIDField,
    "xid8": models.TextField,
}


def columns(table: str, *, key: str | None) -> dict[str, Any]:
    """A field for each column, by its name.

    Args:
        table: such as `orders`.
        key: the column that identifies a row within its organization; None: there is no single one.
    """
    (body,) = re.findall(rf"(?ms)^CREATE TABLE IF NOT EXISTS backmarket\.{table} \((.*?)^\)", schema_text())
    found = re.findall(rf"(?m)^    (\w+) ({'|'.join(map(re.escape, TYPES))})(?=[ ,])(.*)$", body)
    return {
        name: TYPES[kind](primary_key=True) if name == key else TYPES[kind](null="NOT NULL" not in rest)
        for name, kind, rest in found
    }
