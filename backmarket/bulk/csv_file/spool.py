"""A caller's file, copied once: what is checked, cut and stored is the same however often it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from backmarket.errors import InvalidArgument, SettingsError, TooLarge

File = Path | BinaryIO | str
"""A path, a file that is open for reading bytes, or the CSV text itself."""

MAX_FILE_BYTES = 5 * 1024**3
"""Maximum size of a file: what S3 accepts in one request."""

_CHUNK = 256 * 1024


def pieces_of(file: File) -> Iterator[bytes]:
    """The bytes of a file, from where it stands to its end.

    Args:
        file: as the caller gave it.

    Raises:
        InvalidArgument: if it cannot be read.
    """
    if isinstance(file, str):
        yield file.encode("utf-8", "surrogatepass")
        return
    if not isinstance(file, Path) and not hasattr(file, "read"):
        raise InvalidArgument(
            f"A file is given as its path, as a file that is open for reading bytes, or as the text itself, not as"
            f" {type(file).__name__}."
        )
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                yield from _chunks(opened)
        else:
            yield from _chunks(file)
    except OSError as error:
        raise InvalidArgument(f"The file cannot be read: {error.strerror or type(error).__name__}.") from None
    except ValueError:  # a NUL in its path, or it was closed
        raise InvalidArgument("The file is closed, or its path is invalid. Open it, or give another path.") from None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        if not isinstance(piece, bytes):
            raise InvalidArgument("The file cannot be read as bytes. Open it with mode 'rb', or give its path.")
        yield piece


@contextmanager
def room() -> Iterator[None]:
    """What the system says of temporary files, as an error of ours.

    Raises:
        SettingsError: if there is no room for them.
    """
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"The file cannot be kept while it is checked: {error.strerror or type(error).__name__}. Set TMPDIR to a"
            " directory with room for three times the file."
        ) from None


def spool(pieces: Iterable[bytes], into: BinaryIO) -> str:
    """Copy a file.

    Args:
        pieces: of it.
        into: an empty file.

    Returns:
        the hexadecimal hash of its bytes.

    Raises:
        TooLarge: if it has more than 5 GiB.
    """
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_FILE_BYTES:
            raise TooLarge(f"The file has more than {MAX_FILE_BYTES // 1024**3} GiB. Split it into smaller files.")
        digest.update(piece)
        into.write(piece)
    return digest.hexdigest()
