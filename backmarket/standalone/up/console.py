"""The console of `backmarket up`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backmarket.console.access.users import Role, as_setting
from backmarket.errors import ENV_PREFIX
from backmarket.standalone.embedded.ports import LOOPBACK
from backmarket.standalone.process import inherited
from backmarket.standalone.up.child import Child

USER = "backmarket"


class Console(Child):
    """The console in its own process, for as long as the `with` block.

    Args:
        environment: all settings; if they name no users, one operator may log in.
        password: that operator's password.
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
        """Its arguments for Python."""
        return ["-m", "backmarket.console", "--port", str(self._port)]

    def environment(self) -> Mapping[str, str]:
        """Its environment; this process's own settings are not passed on."""
        return inherited() | self._environment


_USERS = f"{ENV_PREFIX}CONSOLE_USERS"
