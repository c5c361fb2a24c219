"""The state file of `backmarket up`: secrets and addresses, generated once; only its user can read it."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from backmarket.database.encryption import KeyCipher
from backmarket.settings import Settings
from backmarket.standalone.embedded.ports import free_port
from backmarket.standalone.up.private import write_private

FLOWER_USER = "backmarket"


@dataclass(frozen=True)
class StateFile:
    """Secrets and addresses that stay the same from one start to the next.

    Attributes:
        secret_key: encrypts API keys in the embedded PostgreSQL; empty where the database is the user's, whose
            keys must not depend on this directory.
        limiter_key: the limiter's key, likewise.
        flower_password: Flower's password of the user `backmarket`.
        console_password: the console's password of the same user.
        sandbox_port: the sandbox's port on loopback.
    """

    secret_key: str
    limiter_key: str
    flower_password: str
    console_password: str
    sandbox_port: int

    @property
    def flower_login(self) -> str:
        """User and password in Flower's form."""
        return f"{FLOWER_USER}:{self.flower_password}"

    @property
    def flower_hint(self) -> str:
        """User and password in readable form."""
        return f"user {FLOWER_USER}, password {self.flower_password}"

    @classmethod
    def of(cls, directory: Path, given: Settings) -> StateFile:
        """Read the state file of a directory; make and write what is missing.

        Args:
            directory: the stack's directory.
            given: the user's settings.

        Raises:
            SettingsError: if the database is the user's, and no keys are set for it.
        """
        path = directory / "state.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        mine = not given.database_url
        if not mine:
            KeyCipher.from_settings(given)
            given.need("limiter_key")
        state = cls(
            secret_key=found.get("secret_key") or (KeyCipher.generate() if mine else ""),
            limiter_key=found.get("limiter_key") or (secrets.token_hex(24) if mine else ""),
            flower_password=found.get("flower_password") or secrets.token_urlsafe(12),
            console_password=found.get("console_password") or secrets.token_urlsafe(12),
            sandbox_port=free_port(found.get("sandbox_port", 0)),
        )
        write_private(path, json.dumps(asdict(state), indent=2))
        return state
