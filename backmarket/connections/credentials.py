"""API keys: decrypt one for a request, or re-encrypt all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backmarket import audit
from backmarket.client.credentials import Credentials
from backmarket.client.endpoints import check_locale, host_for
from backmarket.connections.connection import check_accepted, check_usable, not_found, select
from backmarket.database import Database, Transaction
from backmarket.database.encryption import KeyCipher
from backmarket.errors import SettingsError

if TYPE_CHECKING:
    from backmarket.settings import Settings


@dataclass(frozen=True, slots=True)
class EncryptedCredentials:
    """Credentials as they are stored.

    Args:
        api_key: encrypted.
        account: the limiter's name for the key.
        environment: of the connection.
        region: the same.
        locale: the same.
        base_url: the same; None: the host of region and environment.
        markets: further locales whose listings are copied, too.
    """

    api_key: bytes = field(repr=False)
    account: str
    environment: str
    region: str
    locale: str
    base_url: str | None
    markets: list[str] = field(default_factory=list)

    def decrypt(self, cipher: KeyCipher, settings: Settings, *, locale: str | None = None) -> Credentials:
        """The credentials that a request needs.

        Args:
            cipher: decrypts the key.
            settings: which base URLs are allowed now.
            locale: in place of the connection's.

        Raises:
            InvalidArgument: if the region has no such locale.
            SettingsError: if the base URL is no longer allowed, or the key cannot be decrypted.
        """
        chosen = check_locale(self.region, locale) if locale else self.locale
        if self.base_url is not None and self.base_url not in settings.allowed_base_urls:
            raise SettingsError(
                "The connection's base URL is not in BACKMARKET_ALLOWED_BASE_URLS of this process: its key is not sent."
            )
        base_url = self.base_url or host_for(self.region, self.environment)
        return Credentials(base_url, cipher.decrypt(self.api_key), self.account, chosen)


ENCRYPTED_COLUMNS = "c.api_key, c.account, c.environment, c.region, c.locale, c.base_url, c.markets"
"""The columns of `EncryptedCredentials`, in its order, where `connections` is called `c`."""


def credentials(
    database: Database,
    cipher: KeyCipher,
    settings: Settings,
    organization_id: str,
    *,
    environment: str | None = None,
    locale: str | None = None,
    market: str | None = None,
    even_if_refused: bool = False,
) -> tuple[Credentials, int]:
    """The credentials for an organization's requests, and the generation that they belong to.

    Args:
        cipher: decrypts the key.
        settings: which base URLs are allowed now.
        environment: must be the connection's, if given.
        locale: in place of the connection's, for this call.
        market: one of the connection's markets, in place of `locale`.
        even_if_refused: also if the API has refused the key.

    Raises:
        ConnectionNotFound: if the organization is not connected.
        ConnectionDisabled: if it was disabled.
        ApiKeyMissing: if its key was cleared.
        ConnectionUnauthorized: if the API refused its key.
        EnvironmentMismatch: if the connection is for another environment.
        InvalidArgument: if its region has no such locale, or the connection no such market.
        SettingsError: if its base URL is no longer allowed, or its key cannot be decrypted.
    """
    with database.transaction() as transaction:
        connection = select(transaction, organization_id)
        check_usable(connection, environment, even_if_refused=even_if_refused)
        if not even_if_refused:
            check_accepted(connection)
        if market is not None:
            locale = connection.market_of(market) or None
        row = transaction.execute(
            f"SELECT {ENCRYPTED_COLUMNS}, c.generation FROM backmarket.connections c WHERE organization_id = %s",
            (organization_id,),
        ).fetchone()
    if row is None or row[0] is None:
        raise not_found()
    *encrypted, generation = row
    return EncryptedCredentials(*encrypted).decrypt(cipher, settings, locale=locale), generation


def unreadable_keys(database: Database, cipher: KeyCipher) -> tuple[int, int]:
    """Number of stored keys that none of `SECRET_KEYS` decrypts, and of all stored keys."""
    with database.transaction() as transaction:
        rows = transaction.execute("SELECT api_key FROM backmarket.connections WHERE api_key IS NOT NULL").fetchall()
    return sum(not cipher.can_decrypt(bytes(stored)) for (stored,) in rows), len(rows)


def _record_rotation(transaction: Transaction, keys: int, last: str, lost: list[str]) -> None:
    """Record one batch; `lost` are the organizations so far whose keys could not be decrypted."""
    details = {"keys": keys, "last_organization": last, "undecryptable_so_far": len(lost)}
    audit.record(transaction, audit.Act("keys.rotate", details=details))


def rotate_keys(database: Database, cipher: KeyCipher, *, batch: int = 500) -> int:
    """Encrypt every stored key with the first of `SECRET_KEYS`.

    Args:
        cipher: with the old keys and the new one.
        batch: rows per transaction.

    Returns:
        Number of keys re-encrypted.

    Raises:
        SettingsError: if no key of `SECRET_KEYS` decrypts some stored keys; they stay as they are, the others are done.
    """
    done, lost, after = 0, list[str](), ""
    while True:
        with database.transaction() as transaction:
            rows = transaction.execute(
                "SELECT organization_id, api_key FROM backmarket.connections WHERE organization_id > %s"
                " AND api_key IS NOT NULL ORDER BY organization_id LIMIT %s FOR UPDATE",
                (after, batch),
            ).fetchall()
            for organization_id, stored in rows:
                try:
                    rotated = cipher.rotate(bytes(stored))
                except SettingsError:
                    lost.append(organization_id)
                    continue
                transaction.execute(
                    "UPDATE backmarket.connections SET api_key = %s WHERE organization_id = %s",
                    (rotated, organization_id),
                )
            if rows:
                _record_rotation(transaction, len(rows), rows[-1][0], lost)
        if not rows:
            break
        done += len(rows)
        after = rows[-1][0]
    if lost:
        raise SettingsError(
            f"{len(lost)} of {done} stored API keys, that of {lost[0]!r} among them, are decrypted by none of"
            " BACKMARKET_SECRET_KEYS: add the key that encrypted them, or connect these organizations again."
            " The others are done."
        )
    return done
