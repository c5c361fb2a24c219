"""Faults of the servers that everything stands on."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import psycopg
import redis

from backmarket.standalone.embedded.processes import StackError
from chaos.faults.fault import Fault
from chaos.grounds import ROLE

_CHUNK: Final = bytes(256 * 1024)


class EmptyRedis(Fault):
    """All messages and the limiter's memory are gone."""

    def begin(self) -> None:
        """Empty it."""
        with suppress(redis.RedisError), self.grounds.redis() as client:
            client.flushall()

    def end(self) -> None:
        """Nothing comes back."""


class StopRedis(Fault):
    """Redis is away, and comes back without its memory."""

    def begin(self) -> None:
        """Stop it."""
        self.grounds.stack.valkey.stop()

    def end(self) -> None:
        """Start it."""
        self.grounds.stack.valkey.start()


class StopPostgres(Fault):
    """PostgreSQL is shut down in an orderly way, and started again."""

    def begin(self) -> None:
        """Stop it."""
        self.grounds.stack.postgres.stop()

    def end(self) -> None:
        """Start it; on a disk that another fault has filled it cannot recover before there is room."""
        try:
            self.grounds.stack.postgres.start()
        except StackError:
            self.grounds.make_room()
            self.grounds.stack.postgres.start()


class CrashPostgres(StopPostgres):
    """PostgreSQL is killed, and recovers from its log."""

    def begin(self) -> None:
        """Kill it."""
        self.grounds.stack.postgres.kill()


class S3Away(Fault):
    """The S3 server is killed: connections are refused."""

    def begin(self) -> None:
        """Kill it."""
        self.grounds.stack.s3.kill()

    def end(self) -> None:
        """Start it."""
        self.grounds.stack.s3.start()


class S3Silent(Fault):
    """The S3 server takes connections and answers nothing."""

    def begin(self) -> None:
        """Stop it in its tracks."""
        self.grounds.stack.s3.pause()

    def end(self) -> None:
        """Let it go on."""
        self.grounds.stack.s3.resume()


class DiskFull(Fault):
    """Nothing more fits onto the file system of the database (ENOSPC); its log is on another one."""

    def begin(self) -> None:
        """Fill it."""
        assert self.grounds.filler is not None
        with suppress(OSError), self.grounds.filler.open("wb", buffering=0) as filler:
            while filler.write(_CHUNK):
                pass

    def end(self) -> None:
        """Make room."""
        self.grounds.make_room()


class NoConnections(Fault):
    """PostgreSQL gives the workers no connection (SQLSTATE 53300), and has ended those that they had."""

    def begin(self) -> None:
        """Take them away."""
        self._limit(0)
        with suppress(psycopg.Error):
            self.grounds.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", ROLE)

    def end(self) -> None:
        """Give them again."""
        self._limit(-1)

    def _limit(self, connections: int) -> None:
        self.grounds.ask(f"ALTER ROLE {ROLE} CONNECTION LIMIT {connections}")
