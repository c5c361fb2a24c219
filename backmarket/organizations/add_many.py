"""Connecting many organizations in few statements."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket import audit
from backmarket.connections.account import Account
from backmarket.connections.health import DUE_IN_TURN, lock_new
from backmarket.database import Transaction
from backmarket.database.encryption import KeyCipher
from backmarket.limits import account_name
from backmarket.settings import Settings


def add_all(transaction: Transaction, cipher: KeyCipher, settings: Settings, accounts: Sequence[Account]) -> set[str]:
    """Connect organizations that are not connected, in few statements; their syncs are due at once, orders first.

    Args:
        transaction: holds no lock yet.
        cipher: encrypts the keys.
        settings: which base URLs are allowed.
        accounts: of different organizations.

    Returns:
        The ids of those that were connected; the others had been meanwhile, and stay as they are.

    Raises:
        InvalidArgument: see `Account.checked`.
    """
    rows = [(account.organization_id, *compared(account, settings)) for account in accounts]
    ids, names, regions, environments, base_urls, locales = zip(*rows, strict=True) if rows else [()] * 6
    lock_new(transaction, ids)
    values = {
        "organizations": [*ids],
        "api_keys": [cipher.encrypt(account.api_key) for account in accounts],
        "accounts": [*names],
        "environments": [*environments],
        "regions": [*regions],
        "locales": [*locales],
        "base_urls": [*base_urls],
    }
    added = [id_ for (id_,) in transaction.execute(_INSERT_ALL, values).fetchall()]
    transaction.execute(_INSERT_ALL_STATES, (added,))
    acts = (audit.Act("connection.add", each, "connection", each) for each in added)
    audit.record_all(transaction, [(act, audit.Outcome.DONE, None) for act in acts])
    return {*added}


def compared(account: Account, settings: Settings) -> tuple[str, str, str, str | None, str]:
    """The parts of a valid account by which two are the same, as `stored_accounts` has them.

    Raises:
        InvalidArgument: see `Account.checked`.
    """
    account = account.checked(settings)
    name = account_name(account.api_key, settings.need("limiter_key"))
    return name, account.region, account.environment, account.base_url, account.locale or ""


def stored_accounts(
    transaction: Transaction, organization_ids: Sequence[str]
) -> dict[str, tuple[str | None, str, str, str | None, str]]:
    """Of the organizations that are connected the limiter's name of the key, region, environment, base URL, locale."""
    rows = transaction.execute(
        "SELECT organization_id, account, region, environment, base_url, locale FROM backmarket.connections"
        " WHERE organization_id = ANY(%s)",
        ([*organization_ids],),
    ).fetchall()
    return {organization_id: (*parts,) for organization_id, *parts in rows}


_INSERT_ALL = """
INSERT INTO backmarket.connections
    (organization_id, generation, api_key, account, environment, region, locale, base_url)
SELECT organization_id, pg_current_xact_id()::text::bigint, api_key, account, environment, region, locale, base_url
FROM unnest(%(organizations)s::text[], %(api_keys)s::bytea[], %(accounts)s::text[], %(environments)s::text[],
    %(regions)s::text[], %(locales)s::text[], %(base_urls)s::text[])
    AS given (organization_id, api_key, account, environment, region, locale, base_url)
ON CONFLICT DO NOTHING RETURNING organization_id
"""

_INSERT_ALL_STATES = f"""
INSERT INTO backmarket.sync_state (organization_id, resource, lease_number, next_due_at)
SELECT organization_id, resource, pg_current_xact_id()::text::bigint, {DUE_IN_TURN}
FROM backmarket.schedule, unnest(%s::text[]) AS organization_id ON CONFLICT DO NOTHING
"""
