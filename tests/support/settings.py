"""Settings of tests."""

from __future__ import annotations

import secrets
from typing import Any

from cryptography.fernet import Fernet

from backmarket.settings import Settings


def fresh_settings(**values: Any) -> Settings:
    """Settings with keys of their own.

    Args:
        values: the other settings, by their names.
    """
    keys = {"secret_keys": (Fernet.generate_key().decode(),), "limiter_key": secrets.token_hex(16)}
    return Settings(**{**keys, "user_agent": "BM-Test-Suite;dev@test.example", **values})
