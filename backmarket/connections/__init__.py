"""Connections: an organization's seller account, its key, and why requests for it are off."""

from backmarket.connections.account import Account, check_organization_id
from backmarket.connections.connection import Connection, check_usable, get, get_all
from backmarket.connections.credentials import (
    ENCRYPTED_COLUMNS,
    EncryptedCredentials,
    credentials,
    rotate_keys,
    unreadable_keys,
)
from backmarket.connections.health import MAY_SEND, clear_error, mark_authorized, mark_error, mark_unauthorized

__all__ = [
    "ENCRYPTED_COLUMNS",
    "MAY_SEND",
    "Account",
    "Connection",
    "EncryptedCredentials",
    "check_organization_id",
    "check_usable",
    "clear_error",
    "credentials",
    "get",
    "get_all",
    "mark_authorized",
    "mark_error",
    "mark_unauthorized",
    "rotate_keys",
    "unreadable_keys",
]
