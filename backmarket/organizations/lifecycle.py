"""Connecting an organization, changing its connection, disabling, enabling and removing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backmarket import audit, work
from backmarket.bucket import deletion_queue
from backmarket.bucket.keys import bulk_prefix, invoices_prefix, labels_prefix
from backmarket.bulk.completion import abandon
from backmarket.connections.account import Account
from backmarket.connections.connection import KEY_CLEARED, Connection, select
from backmarket.connections.health import DUE_IN_TURN, NO_ERROR, lock, mark_authorized, reset_backoff
from backmarket.database import Database, Transaction
from backmarket.database.encryption import KeyCipher
from backmarket.errors import ApiKeyMissing, InvalidArgument, MarketLeft
from backmarket.limits import account_name
from backmarket.organizations import markets
from backmarket.resources import RESOURCES

if TYPE_CHECKING:
    from backmarket.settings import Settings

_PARTS = ("environment", "region", "locale", "base_url")
_COMPARED = ("api_key", "region", "environment", "base_url", "locale", "enabled", "markets")
"""What `_write` compares, as the audit trail names it; of the key, whether its account changed."""
_MARKET = {"region", "environment"}
"""A change of these leaves the market that the stored rows are of."""
COPIES = ("orders", "orderlines", "listings", "listing_markets", "deliveries", "returns")
"""Tables that hold an organization's rows."""


def upsert(
    database: Database, cipher: KeyCipher, settings: Settings, account: Account, *, discard_rows: bool = False
) -> Connection:
    """Connect an organization, or change its connection.

    A new key, region, environment or base URL starts a new generation: slices of the older one
    write nothing any more, and the next sync is a full walk. A sync is due at once in any case, orders first.

    Args:
        cipher: encrypts the key.
        settings: which base URLs are allowed.
        account: to be connected.
        discard_rows: remove the rows of the older region or environment; without it, changing either is refused
            while there are any.

    Raises:
        InvalidArgument: see `Account.checked`; or region or environment changed while rows exist.
    """
    account = account.checked(settings)
    name = account_name(account.api_key, settings.need("limiter_key"))
    with database.transaction() as transaction:
        lock(transaction, account.organization_id)
        return _write(transaction, cipher, account, name, discard_rows=discard_rows)


def change(
    database: Database,
    cipher: KeyCipher,
    settings: Settings,
    organization_id: str,
    changes: Mapping[str, Any],
    *,
    discard_rows: bool = False,
) -> Connection:
    """Change a connection, but not its key; see `upsert`.

    Args:
        cipher: decrypts the key, and encrypts it again.
        settings: which base URLs are allowed.
        changes: of `environment`, `region`, `locale`, `base_url` and `markets`; values not named stay.
        discard_rows: see `upsert`.

    Raises:
        ConnectionNotFound: if the organization is not connected.
        ApiKeyMissing: if its key was cleared.
        InvalidArgument: see `upsert`.
        SettingsError: if its key cannot be decrypted.
    """
    with database.transaction() as transaction:
        lock(transaction, organization_id)
        stored = select(transaction, organization_id)
        row = transaction.execute(
            "SELECT api_key, account FROM backmarket.connections WHERE organization_id = %s", (organization_id,)
        ).fetchone()
        if row is None or row[0] is None:
            raise ApiKeyMissing(KEY_CLEARED)
        parts = {name: changes.get(name, getattr(stored, name)) for name in _PARTS}
        account = Account(organization_id, cipher.decrypt(row[0]), **parts, markets=changes.get("markets"))
        account = account.checked(settings)
        return _write(transaction, cipher, account, row[1], discard_rows=discard_rows, enabled=stored.enabled)


def _write(
    transaction: Transaction,
    cipher: KeyCipher,
    account: Account,
    name: str,
    *,
    discard_rows: bool,
    enabled: bool = True,
) -> Connection:
    """Store a connection; the caller has locked the organization.

    Args:
        cipher: encrypts the key.
        account: checked.
        name: the limiter's name for the key.
        discard_rows: see `upsert`.
        enabled: whether requests are sent for it.
    """
    before = transaction.execute(
        "SELECT account, region, environment, base_url, locale, enabled, markets FROM backmarket.connections"
        " WHERE organization_id = %s FOR UPDATE",
        (account.organization_id,),
    ).fetchone()
    further = markets.chosen(account, *((before[1], before[6]) if before else ("", [])))
    after = (name, account.region, account.environment, account.base_url, account.locale, enabled, further)
    changed = [name for name, old, new in zip(_COMPARED, before or after, after, strict=True) if old != new]
    renewed = bool({"api_key", "base_url", *_MARKET} & {*changed})
    if _MARKET & {*changed}:
        _leave_market(transaction, account.organization_id, discard_rows=discard_rows)
    transaction.execute(
        _UPSERT,
        {
            "organization": account.organization_id,
            "api_key": cipher.encrypt(account.api_key),
            "account": name,
            "environment": account.environment,
            "region": account.region,
            "locale": account.locale,
            "base_url": account.base_url,
            "renewed": renewed,
            "enabled": enabled,
            "markets": further,
        },
    )
    if "markets" in changed:
        markets.leave(transaction, account.organization_id, further)
    markets.insert_states(transaction, account.organization_id)
    if renewed:
        _begin_again(transaction, account.organization_id)
        if {"base_url", *_MARKET} & {*changed}:
            abandon(transaction, account.organization_id, _market_left())
    else:
        transaction.execute(
            f"UPDATE backmarket.sync_state SET next_due_at = {DUE_IN_TURN}, nudged_until = NULL"
            " WHERE organization_id = %s",
            (account.organization_id,),
        )
    if before is None:
        audit.record(transaction, _act("connection.add", account.organization_id))
    elif changed:  # the same connection once more is only a request for a sync
        discarded = {"discarded_rows": True} if _MARKET & {*changed} else {}
        audit.record(transaction, _act("connection.change", account.organization_id, fields=changed, **discarded))
    return select(transaction, account.organization_id)


def _act(action: str, organization_id: str, **details: object) -> audit.Act:
    return audit.Act(action, organization_id, "connection", organization_id, details)


def disable(database: Database, organization_id: str, *, clear_api_key: bool = False) -> Connection:
    """Stop all requests for this account; running slices stop at their next write.

    Args:
        clear_api_key: delete the key, too.

    Raises:
        ConnectionNotFound: if the organization is not connected.
    """
    with database.transaction() as transaction:
        lock(transaction, organization_id)
        transaction.execute(
            "UPDATE backmarket.connections SET enabled = false, updated_at = now(),"
            " api_key = CASE WHEN %(clear)s THEN NULL ELSE api_key END,"
            " account = CASE WHEN %(clear)s THEN NULL ELSE account END WHERE organization_id = %(organization)s",
            {"organization": organization_id, "clear": clear_api_key},
        )
        transaction.execute(
            "UPDATE backmarket.sync_state SET lease_number = lease_number + 1, lease_until = NULL, lease_owner = NULL"
            " WHERE organization_id = %s",
            (organization_id,),
        )
        work.void(transaction, organization_id)
        connection = select(transaction, organization_id)
        audit.record(transaction, _act("connection.disable", organization_id, cleared_api_key=clear_api_key))
        return connection


def enable(database: Database, organization_id: str) -> Connection:
    """Resume requests for this account at once; also after its key was refused and Back Market has fixed that.

    Raises:
        ConnectionNotFound: if the organization is not connected.
        ApiKeyMissing: if its key was cleared.
    """
    with database.transaction() as transaction:
        lock(transaction, organization_id)
        connection = select(transaction, organization_id)
        if not connection.has_api_key:
            raise ApiKeyMissing(KEY_CLEARED)
        mark_authorized(transaction, organization_id, connection.generation)  # until its next 401
        transaction.execute(
            f"UPDATE backmarket.connections SET enabled = true, updated_at = now(), {NO_ERROR}"
            " WHERE organization_id = %s",
            (organization_id,),
        )
        reset_backoff(transaction, organization_id)
        audit.record(transaction, _act("connection.enable", organization_id))
        return select(transaction, organization_id)


def remove(database: Database, organization_id: str) -> int:
    """Remove an organization with everything that is stored for it. Its running slices write nothing more.

    Returns:
        Number of its copied rows that were removed.

    Raises:
        ConnectionNotFound: if the organization is not connected.
    """
    with database.transaction() as transaction:
        lock(transaction, organization_id)
        select(transaction, organization_id)
        transaction.execute(_DELETE_ATTEMPTS, (organization_id,))
        # its leases go with it, so no walk can write after this; and its endpoints
        transaction.execute("DELETE FROM backmarket.connections WHERE organization_id = %s", (organization_id,))
        removed = _discard(transaction, organization_id)
        transaction.execute("DELETE FROM backmarket.sync_runs WHERE organization_id = %s", (organization_id,))
        transaction.execute("DELETE FROM backmarket.changes WHERE organization_id = %s", (organization_id,))
        transaction.execute("DELETE FROM backmarket.event_retries WHERE organization_id = %s", (organization_id,))
        transaction.execute("DELETE FROM backmarket.api_writes WHERE organization_id = %s", (organization_id,))
        if transaction.execute(_DELETE_BULK, (organization_id,)).rowcount:
            deletion_queue.request(transaction, (bulk_prefix(organization_id),))
        audit.record(transaction, _act("connection.remove", organization_id, rows=removed))
        return removed


def _leave_market(transaction: Transaction, organization_id: str, *, discard_rows: bool) -> None:
    """Discard rows and sync history, which must not mix with those of another region or environment."""
    for table in () if discard_rows else COPIES:
        if transaction.execute(
            f"SELECT 1 FROM backmarket.{table} WHERE organization_id = %s LIMIT 1", (organization_id,)
        ).fetchone():
            raise InvalidArgument(
                "Rows of another region or environment are stored for this organization:"
                " pass discard_rows=True (`--discard-rows`) to remove them, or use another organization id."
            )
    for resource in RESOURCES.values():  # readers of the change feed learn that the rows are gone
        transaction.execute(
            "INSERT INTO backmarket.changes (organization_id, resource, external_id, kind)"
            f" SELECT organization_id, %s, {resource.key.name}::text, 'removed' FROM backmarket.{resource.table}"
            " WHERE organization_id = %s AND removed_at IS NULL",
            (resource.name, organization_id),
        )
    markets.tell_left(transaction, organization_id)
    _discard(transaction, organization_id)
    transaction.execute("DELETE FROM backmarket.sync_runs WHERE organization_id = %s", (organization_id,))
    transaction.execute(
        "UPDATE backmarket.sync_state SET last_started_at = NULL, last_success_at = NULL, last_full_walk_at = NULL,"
        " runs = 0, quiet_runs = 0 WHERE organization_id = %s",
        (organization_id,),
    )


def _market_left() -> MarketLeft:
    return MarketLeft(
        "The connection was changed to another region, environment or base URL than the file was meant for."
    )


def _discard(transaction: Transaction, organization_id: str) -> int:
    if transaction.execute(_HAS_OBJECTS, {"organization": organization_id}).fetchone() == (True,):
        deletion_queue.request(transaction, (labels_prefix(organization_id), invoices_prefix(organization_id)))
    transaction.execute("DELETE FROM backmarket.labels WHERE organization_id = %s", (organization_id,))
    return sum(
        transaction.execute(f"DELETE FROM backmarket.{table} WHERE organization_id = %s", (organization_id,)).rowcount
        for table in COPIES
    )


def _begin_again(transaction: Transaction, organization_id: str) -> None:
    """Start a new generation: leases are void, checkpoints gone, every next sync is a full walk."""
    transaction.execute("DELETE FROM backmarket.walks WHERE organization_id = %s", (organization_id,))
    transaction.execute(
        "UPDATE backmarket.sync_state SET lease_number = lease_number + 1, lease_until = NULL, lease_owner = NULL,"
        " watermark = NULL, full_walk_due_at = now() WHERE organization_id = %s",
        (organization_id,),
    )
    work.void(transaction, organization_id)
    reset_backoff(transaction, organization_id)


_DELETE_ATTEMPTS = """
DELETE FROM backmarket.event_attempts
WHERE endpoint_id IN (SELECT id FROM backmarket.event_endpoints WHERE organization_id = %s)
"""

_DELETE_BULK = "DELETE FROM backmarket.bulk_jobs WHERE organization_id = %s"

# An object that is being stored at this moment already has a row, too.
_HAS_OBJECTS = """
SELECT EXISTS (SELECT FROM backmarket.labels WHERE organization_id = %(organization)s)
    OR EXISTS (SELECT FROM backmarket.api_writes WHERE organization_id = %(organization)s AND object_key IS NOT NULL)
"""

# The generation begins with the number of the transaction, which never repeats: so it grows even where a connection is
# removed and added again.
_UPSERT = """
INSERT INTO backmarket.connections AS c
    (organization_id, generation, api_key, account, environment, region, locale, base_url, markets)
VALUES (%(organization)s, pg_current_xact_id()::text::bigint, %(api_key)s, %(account)s, %(environment)s, %(region)s,
    %(locale)s, %(base_url)s, %(markets)s)
ON CONFLICT (organization_id) DO UPDATE SET
    api_key = excluded.api_key, account = excluded.account, environment = excluded.environment,
    region = excluded.region, locale = excluded.locale, base_url = excluded.base_url,
    enabled = %(enabled)s, markets = excluded.markets, updated_at = now(),
    generation = c.generation + CASE WHEN %(renewed)s THEN 1 ELSE 0 END,
    unauthorized_at = CASE WHEN %(renewed)s THEN NULL ELSE c.unauthorized_at END,
    refused_at = CASE WHEN %(renewed)s THEN NULL ELSE c.refused_at END,
    next_probe_at = CASE WHEN %(renewed)s THEN NULL ELSE c.next_probe_at END,
    probed_at = CASE WHEN %(renewed)s THEN NULL ELSE c.probed_at END,
    last_error_at = CASE WHEN %(renewed)s THEN NULL ELSE c.last_error_at END,
    last_error_code = CASE WHEN %(renewed)s THEN NULL ELSE c.last_error_code END,
    last_error = CASE WHEN %(renewed)s THEN NULL ELSE c.last_error END,
    last_error_request_id = CASE WHEN %(renewed)s THEN NULL ELSE c.last_error_request_id END,
    last_error_cf_ray = CASE WHEN %(renewed)s THEN NULL ELSE c.last_error_cf_ray END
"""
