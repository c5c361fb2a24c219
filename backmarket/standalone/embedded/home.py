"""A stack's private directory: who owns it, and how it is cleaned up when the owner is gone.

The owner is the process that holds the lock on the file `lock` in it. The system releases the lock when the
process ends, however it ends, so a free lock means that the owner will not clean up this directory any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from backmarket.standalone.embedded import postgres_user, shared_memory
from backmarket.standalone.embedded.processes import StackError, end_recorded, is_alive

PREFIX = "backmarket-stack-"
TAKE_OVER_SECONDS = 120.0
"""Seconds that the watcher of a killed owner may take to clean up."""
MAX_DIRECTORY_BYTES = 60
"""Maximum length: that of a socket's path (104 on macOS, 108 on Linux), less our own names below it."""

_LOCK, _TEMPORARY, _OUTSIDE = "lock", "temporary", "outside"
_held: set[int] = set()


class Home:
    """A directory that this process owns. Get one from `claim` or `make_temporary`.

    Args:
        path: the directory.
        lock: the descriptor that holds its lock.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def note_outside(self, sockets: Iterable[Path]) -> None:
        """Record the sockets that a server insists on making elsewhere; `put_in_order` removes them."""
        with (self.path / _OUTSIDE).open("a") as noted:
            noted.writelines(f"{path}\n" for path in sockets)

    def release(self) -> None:
        """Clean up the directory, remove it if it is temporary, and release its lock."""
        try:
            put_in_order(self.path)
        finally:
            _unlock(self._lock)


def claim(path: Path) -> Home:
    """Claim a persistent directory, and clean up after its previous owner.

    Args:
        path: the directory; made if missing.

    Raises:
        StackError: if a running process owns it, or it holds something other than a stack.
    """
    if path.is_dir() and any(path.iterdir()) and not (path / _LOCK).exists():
        raise StackError(f"{path} is not empty, and is not a stack's directory. Name another one.")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        (path / _LOCK).touch(mode=0o600)
    except OSError as error:
        raise StackError(f"{path} cannot be a stack's directory: {error.strerror}.") from error
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    while (lock := _try_lock(path)) is None:
        owner = _owner(path)
        if (owner and is_alive(owner)) or time.monotonic() > deadline:
            raise StackError(f"A stack runs in {path} already: process {owner}. Stop that one first.")
        time.sleep(0.05)  # the owner was killed, and its watcher is cleaning up
    put_in_order(path)
    return Home(path, lock)


def make_temporary() -> Home:
    """A new private directory that is removed at the end, with a path short enough for sockets.

    Raises:
        StackError: if no directory for temporary files is usable.
    """
    place = next(places(), None)
    if place is None:
        raise StackError("No temporary directory has a short path and is open to PostgreSQL's user; set TMPDIR.")
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    user = postgres_user.needed()
    if user is not None:
        os.chown(path, -1, user.pw_gid)
        path.chmod(0o710)  # PostgreSQL's user may pass through, but not list it
    (path / _LOCK).touch(mode=0o600)
    lock = _try_lock(path)
    if lock is None:
        raise StackError(f"{path} was taken by another process.")
    (path / _TEMPORARY).touch(mode=0o600)  # only now may other processes clean it up
    return Home(path, lock)


def remove_abandoned() -> None:
    """Remove the temporary directories whose owners and watchers were both killed."""
    for place in places():
        for path in place.glob(f"{PREFIX}*"):
            if _is_ours(path) and (path / _TEMPORARY).exists() and (lock := _try_lock(path)) is not None:
                put_in_order(path)
                _unlock(lock)


def wait_for(path: Path) -> None:
    """Wait until a directory's owner is gone; from then on this process owns it."""
    descriptor = _open_lock(path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _held.add(descriptor)


def put_in_order(path: Path) -> None:
    """End a stack's remaining processes and remove what it left: sockets, shared memory, a temporary directory.

    Args:
        path: a directory whose lock this process holds.
    """
    for record in path.glob("*.pid"):
        end_recorded(record)
    with suppress(FileNotFoundError):
        for line in (path / _OUTSIDE).read_text().splitlines():
            _remove_socket(Path(line))
        (path / _OUTSIDE).unlink()
    shared_memory.remove(path / "postgres")
    if (path / _TEMPORARY).exists():
        _remove(path)


def places() -> Iterator[Path]:
    """Candidate parents of temporary directories, the best first."""
    for place in dict.fromkeys(map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"))):  # noqa: S108
        if place.is_dir() and len(os.fsencode(place)) <= MAX_DIRECTORY_BYTES and postgres_user.can_pass(place):
            yield place


def _open_lock(path: Path) -> int:
    return os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _try_lock(path: Path) -> int | None:
    try:
        descriptor = _open_lock(path)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    _held.add(descriptor)
    return descriptor


def _unlock(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _owner(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((path / _LOCK).read_text())
    return None


def _is_ours(path: Path) -> bool:
    """Whether it is a directory of our own user, and not a link."""
    with suppress(OSError):
        status = path.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return False


def _remove(path: Path) -> None:
    """Remove a temporary directory; its marker goes last, in case this process is killed before the end."""
    for child in path.iterdir():
        if child.is_dir():
            shutil.rmtree(child, ignore_errors=True)
        elif child.name not in {_LOCK, _TEMPORARY}:
            child.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _remove_socket(path: Path) -> None:
    """Remove a socket of our own user, unless a process listens on it: another stack may use the same name by now."""
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid():
            with socket.socket(socket.AF_UNIX) as caller:
                if caller.connect_ex(str(path)) != 0:
                    path.unlink()


def _let_go_after_fork() -> None:
    """A forked child must not keep its parent's directories locked."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
