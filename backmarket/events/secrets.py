"""The secrets by which receivers verify webhooks: made here, encrypted like the API keys."""

from __future__ import annotations

import base64
import secrets

from backmarket.database import Database
from backmarket.database.encryption import KeyCipher
from backmarket.errors import SettingsError

SECRET_BYTES = 32
"""Random bytes of a secret; the specification wants 24 to 64."""


def new_secret() -> str:
    """A new secret, as its receiver gets it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def rotate_secrets(database: Database, cipher: KeyCipher) -> int:
    """Encrypt every stored secret with the first of `SECRET_KEYS`.

    Returns:
        Number of endpoints whose secrets were encrypted again.

    Raises:
        SettingsError: if no key of `SECRET_KEYS` decrypts some of them; they stay as they are, the others are done.
    """
    done, lost = 0, list[int]()
    with database.transaction() as transaction:
        ids = [each for (each,) in transaction.execute(_IDS).fetchall()]
    for endpoint_id in ids:
        with database.transaction() as transaction:
            row = transaction.execute(_STORED, (endpoint_id,)).fetchone() or (None, None)
            try:
                rotated = [cipher.rotate(bytes(each)) if each else None for each in row]
            except SettingsError:
                lost.append(endpoint_id)
                continue
            transaction.execute(_STORE, (*rotated, endpoint_id))
            done += 1
    if lost:
        raise SettingsError(
            f"The secrets of {len(lost)} webhooks, that of endpoint {lost[0]} among them, are decrypted by none of"
            " BACKMARKET_SECRET_KEYS: add the key that encrypted them, or rotate these secrets."
        )
    return done


def unreadable_secrets(database: Database, cipher: KeyCipher) -> int:
    """Number of webhooks whose secret none of `SECRET_KEYS` decrypts."""
    with database.transaction() as transaction:
        rows = transaction.execute(_ALL).fetchall()
    return sum(not cipher.can_decrypt(bytes(stored)) for (stored,) in rows)


_ALL = "SELECT secret FROM backmarket.event_endpoints WHERE secret IS NOT NULL"
_IDS = "SELECT id FROM backmarket.event_endpoints WHERE secret IS NOT NULL ORDER BY id"
_STORED = "SELECT secret, previous_secret FROM backmarket.event_endpoints WHERE id = %s FOR UPDATE"
_STORE = "UPDATE backmarket.event_endpoints SET secret = %s, previous_secret = %s WHERE id = %s"
