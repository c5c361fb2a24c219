"""Flower behind its prefix: a password, readable names, no personal data, and a memory."""

from __future__ import annotations

import base64
import json
from http.client import HTTPConnection
from typing import Any

from backmarket.standalone.demo.checks import DemoFailed, Shops
from backmarket.standalone.demo.screen import Screen
from backmarket.standalone.demo.sellers import ALIVE
from tests.compose.project import PATIENCE_SECONDS, Project, wait_until


def tell(screen: Screen, stack: Project, shops: Shops) -> None:
    """Look at it, restart it, and look again."""
    port, login = int(stack.values["FLOWER_PORT"]), stack.values["FLOWER_BASIC_AUTH"]
    with screen.step("Flower wants its password, and shows names and organization ids only"):
        if ask(port, "/flower/api/tasks")[0] != 401:
            raise DemoFailed("Flower asked for no password.")
        shops.market.sync_orders(ALIVE[0]).wait(PATIENCE_SECONDS)
        wait_until(lambda: shown(tasks(port, login)), PATIENCE_SECONDS, "Flower saw the sync")
        seen = tasks(port, login)
        known = {f"('{organization}',)" for (organization,) in shops.rows(_ORGANIZATIONS)} | {"()"}
        if unknown := {task["args"] for task in seen.values() if task["args"]} - known:
            raise DemoFailed(f"Flower shows {sorted(unknown)[:5]}")
    with screen.step("Flower was restarted, and remembers the tasks"):
        stack.compose("restart", "flower")
        stack.wait_well()
        if len(seen.keys() & tasks(port, login).keys()) < len(seen) // 2:
            raise DemoFailed("Flower forgot what it had seen.")


def shown(seen: dict[str, dict[str, Any]]) -> bool:
    """Whether a sync is among the tasks, with the organization that it was for."""
    return any(task["args"] == f"('{ALIVE[0]}',)" for task in seen.values())


def tasks(port: int, login: str) -> dict[str, dict[str, Any]]:
    """The tasks that it has seen."""
    status, body = ask(port, "/flower/api/tasks", login)
    if status != 200:
        raise DemoFailed(f"Flower answers {status}.")
    found: dict[str, dict[str, Any]] = json.loads(body)
    return found


def ask(port: int, path: str, login: str = "") -> tuple[int, str]:
    """Status and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


_ORGANIZATIONS = "SELECT organization_id FROM backmarket.connections"
