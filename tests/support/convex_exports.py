"""Exports of the Convex component, as `npx convex export` is assumed to write them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TABLES = ("connections", "orders", "orderlines", "listings", "deliveries", "returns")
ROOT = "_components/backMarket/"


def write_export(
    path: Path,
    documents: Mapping[str, Sequence[Mapping[str, Any]]],
    files: Mapping[str, bytes] | None = None,
    *,
    root: str = ROOT,
) -> Path:
    """Write an export that only its user may read, beside a table `connections` of the application's own.

    Args:
        documents: of each table.
        files: contents by their names in `_storage`.
        root: of the component's tables.
    """
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("connections/documents.jsonl", "")
        for table in {*TABLES, *documents}:
            known = ({"_id": "k1", "_creationTime": 1.5, **each} for each in documents.get(table, ()))
            archive.writestr(f"{root}{table}/documents.jsonl", "".join(f"{json.dumps(each)}\n" for each in known))
        archive.writestr(f"{root}_storage/documents.jsonl", "")
        for name, content in (files or {}).items():
            archive.writestr(f"{root}_storage/{name}", content)
    path.chmod(0o600)
    return path
