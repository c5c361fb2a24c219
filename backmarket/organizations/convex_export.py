"""An export of the Convex component that this system replaces: its tables and files, in one ZIP file.

`npx convex export --include-file-storage` writes a table as `TABLE/documents.jsonl`, a file as `_storage/ID.EXTENSION`,
and those of a component below `_components/NAME/`. The tables are those of `@maxime-ns/back-market` 0.5.0.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from backmarket.errors import InvalidArgument
from backmarket.organizations.import_file import check_private

_TABLE = "{}/documents.jsonl"
_OURS = ("connections", "orders", "orderlines", "listings", "deliveries", "returns")
"""Tables by which the component is told from the application and other components."""


class ConvexExport:
    """The component's part of an export.

    Raises:
        InvalidArgument: if the component's tables are not in the file, or more than once.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = archive.namelist()
        marker = _TABLE.format(_OURS[0])
        roots = {name.removesuffix(marker) for name in names if name == marker or name.endswith(f"/{marker}")}
        self._names = {*names}
        found = [root for root in roots if all(root + _TABLE.format(table) in self._names for table in _OURS)]
        if len(found) != 1:
            raise InvalidArgument(
                f"The component's tables ({', '.join(_OURS)}) are in this file {len(found)} times. Give the ZIP file of"
                " `npx convex export --include-file-storage`, of one deployment."
            )
        self._root = found[0]
        files = f"{self._root}_storage/"
        stored = (name for name in names if name.startswith(files) and not name.endswith(".jsonl"))
        self._files = {name.removeprefix(files).partition(".")[0]: name for name in stored}

    def documents(self, table: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The documents of a table with their lines, from 1; nothing if it is not there.

        Raises:
            InvalidArgument: if a line is not a JSON object; the text quotes nothing of it.
        """
        name = self._root + _TABLE.format(table)
        if name not in self._names:
            return
        with self._archive.open(name) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield number, msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.DecodeError:
                    raise InvalidArgument(f"Line {number} of {name} in the export is not a JSON object.") from None

    def file(self, storage_id: str) -> bytes | None:
        """A stored file; None: it is not in the export."""
        name = self._files.get(storage_id)
        return None if name is None else self._archive.read(name)


@contextmanager
def opened_export(path: Path) -> Iterator[ConvexExport]:
    """An export, for as long as the `with` block.

    Raises:
        InvalidArgument: if it cannot be read, other users of this machine can read it, or it is not such an export.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            check_private(file)
            yield ConvexExport(archive)
    except zipfile.BadZipFile:
        raise InvalidArgument("The export is not a ZIP file, or is damaged.") from None
    except OSError as error:
        raise InvalidArgument(f"The export cannot be read: {error.strerror}.") from None
