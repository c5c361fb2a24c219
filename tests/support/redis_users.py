"""The users of Redis that `deploy/redis/users.acl` gives."""

from __future__ import annotations

from pathlib import Path

_FILE = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"


def redis_users(password: str = "word", *, database: int = 0) -> dict[str, list[str]]:
    """The rules of each user, in the order of the file.

    Args:
        password: of all of them.
        database: the number of the database that they use.
    """
    lines = [line for line in _FILE.read_text().splitlines() if not line.startswith("#")]
    users = [each.split() for each in "\n".join(lines).split("user ") if each.strip()]
    changed = {">PASSWORD": f">{password}", "&/0.celery.pidbox": f"&/{database}.celery.pidbox"}
    changed["&/0.celeryev/*"] = f"&/{database}.celeryev/*"
    return {name: [changed.get(rule, rule) for rule in rules] for name, *rules in users}
