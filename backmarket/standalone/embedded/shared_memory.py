"""The small System V segment that PostgreSQL leaves behind when it is killed.

It only marks that a server runs (56 bytes), and the next start on the same data removes it. Without a next start,
it would stay until the machine restarts.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

_SEGMENTS = Path("/proc/sysvipc/shm")
_IPC_RMID = 0


def remove(data: Path) -> None:
    """Remove the segment of a killed PostgreSQL, if no process uses it.

    Args:
        data: PostgreSQL's data directory; its `postmaster.pid` names the segment, and is gone after an
            orderly stop.
    """
    with suppress(OSError, ValueError, IndexError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        key, identifier = (int(part) for part in lines[6].split())
        for row in _SEGMENTS.read_text().splitlines()[1:]:
            columns = row.split()
            named = int(columns[0]) == key and int(columns[1]) == identifier
            if named and columns[4] == lines[0] and columns[6] == "0":  # made by that server; no process is attached
                ctypes.CDLL(None, use_errno=True).shmctl(identifier, _IPC_RMID, None)
