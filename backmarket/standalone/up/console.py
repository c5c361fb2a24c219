"""The console of `backmarket up`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backmarket.console.access.users import Role, as_setting
from backmarket.settings import ENV_PREFIX
from backmarket.standalone.embedded.ports import LOOPBACK
from backmarket.standalone.fleet import inherited
from backmarket.standalone.up.child import Child

USER = "backmarket"


class Console(Child):
    """The console in a process of its own, for as long as the `with` block.

    Args:
        environment: all settings; without users in them, one operator may log in.
        password: of that user.
        port: on loopback.
        logs: the directory of its log.
    """

    title = "The console"

    def __init__(self, environment: Mapping[str, str], password: str, port: int, logs: Path) -> None:
        super().__init__(logs / "console.log")
        self._port = port
        self._environment = dict(environment)
        self.login = "log in as BACKMARKET_CONSOLE_USERS says"
        if not environment.get(_USERS):
            self._environment[_USERS] = as_setting(USER, Role.OPERATOR, password)
            self.login = f"user {USER}, password {password}"
        self.url = environment.get(f"{ENV_PREFIX}CONSOLE_URL") or f"http://{LOOPBACK}:{port}"

    def arguments(self) -> list[str]:
        """Of Python."""
        return ["-m", "backmarket.console", "--port", str(self._port)]

    def environment(self) -> Mapping[str, str]:
        """Its variables; this process's own settings are not handed on."""
        return inherited() | self._environment


_USERS = f"{ENV_PREFIX}CONSOLE_USERS"
