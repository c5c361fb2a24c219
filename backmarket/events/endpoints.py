"""Endpoints: create, read, change and delete them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from backmarket import audit
from backmarket.changes import NOW, ChangeFilter, decode_cursor, encode_cursor
from backmarket.changes.feed import read
from backmarket.client.webhook_calls import webhook_place
from backmarket.connections.connection import select as select_connection
from backmarket.database import Database, Transaction
from backmarket.database.encryption import KeyCipher
from backmarket.errors import EndpointNotFound, InvalidArgument, OriginRefused
from backmarket.events.models import Endpoint, EventFilter, NewWebhook
from backmarket.events.routing import restart
from backmarket.events.secrets import new_secret
from backmarket.queries.pagination import check_limit

if TYPE_CHECKING:
    from backmarket.settings import Settings

MAX_DESCRIPTION_CHARS = 200
"""Maximum length of a description."""

KEEP_SECRET_HOURS = 24.0
"""Hours for which a webhook is signed with the previous secret, too."""


def create_webhook(
    database: Database,
    cipher: KeyCipher,
    settings: Settings,
    url: str,
    *,
    organization_id: str | None = None,
    where: EventFilter | None = None,
    after: str = NOW,
    description: str = "",
) -> NewWebhook:
    """Create a webhook; see `BackMarket.create_webhook`."""
    check_url(settings, url)
    _check_description(description)
    secret = new_secret()
    with database.transaction() as transaction:
        if organization_id is not None:
            select_connection(transaction, organization_id)
        restart(transaction)
        values = _begin(transaction, after) | (where or EventFilter()).values()
        values |= {"organization_id": organization_id, "url": url, "description": description}
        row = transaction.execute(_CREATE, values | {"secret": cipher.encrypt(secret)}).fetchone() or (0,)
        audit.record(transaction, act("event.create", row[0], organization_id))
        return NewWebhook(select(transaction, row[0]), secret)


def ensure_task(database: Database) -> None:
    """Create the endpoint of the host's task, if it is missing; it begins now."""
    with database.transaction() as transaction:
        if transaction.execute(_HAS_TASK).fetchone() is None:
            restart(transaction)
            transaction.execute(_CREATE_TASK, _begin(transaction, NOW))


def get_endpoints(
    database: Database, organization_id: str | None = None, *, after: int = 0, limit: int = 100
) -> list[Endpoint]:
    """Endpoints by their ids; see `BackMarket.get_event_endpoints`."""
    check_limit(limit)
    condition = "id > %(after)s AND (%(organization)s::text IS NULL OR organization_id = %(organization)s)"
    values = {"after": after, "organization": organization_id, "limit": limit}
    with database.transaction() as transaction:
        return _select(transaction, condition, values)


def get_endpoint(database: Database, endpoint_id: int) -> Endpoint:
    """One endpoint.

    Raises:
        EndpointNotFound: if no endpoint has this id.
    """
    with database.transaction() as transaction:
        return select(transaction, endpoint_id)


def select(transaction: Transaction, endpoint_id: int) -> Endpoint:
    """One endpoint.

    Raises:
        EndpointNotFound: if no endpoint has this id.
    """
    found = _select(transaction, "id = %(id)s", {"id": endpoint_id, "limit": 1})
    if not found:
        raise EndpointNotFound("There is no endpoint with this id. List them: `backmarket events list`.")
    return found[0]


def update(database: Database, settings: Settings, endpoint_id: int, changes: Mapping[str, Any]) -> Endpoint:
    """Change an endpoint; what is not named stays. See `BackMarket.update_event_endpoint`."""
    with database.transaction() as transaction:
        stored = select(transaction, endpoint_id)
        names = ("resources", "kinds", "fields", "initial")
        where = EventFilter(**{name: changes.get(name, getattr(stored, name)) for name in names})
        if changes.get("url") is not None:
            if stored.kind == "task":
                raise InvalidArgument("The host's task has no URL: BACKMARKET_EVENT_TASK names it.")
            check_url(settings, changes["url"])
        values = where.values() | {"url": changes.get("url") or stored.url, "id": endpoint_id}
        values["description"] = changes.get("description", stored.description)
        _check_description(values["description"])
        transaction.execute(_UPDATE, values)
        details = {"fields": sorted(changes)}
        audit.record(transaction, act("event.change", endpoint_id, stored.organization_id, **details))
        return select(transaction, endpoint_id)


def rotate_secret(
    database: Database, cipher: KeyCipher, endpoint_id: int, *, keep_hours: float = KEEP_SECRET_HOURS
) -> str:
    """Give a webhook a new secret; see `BackMarket.rotate_webhook_secret`."""
    if not 0 <= keep_hours <= 24 * 30:
        raise InvalidArgument("keep_hours must be 0 to 720.")
    secret = new_secret()
    with database.transaction() as transaction:
        stored = select(transaction, endpoint_id)
        if stored.kind == "task":
            raise InvalidArgument("The host's task has no secret.")
        transaction.execute(_ROTATE, {"id": endpoint_id, "secret": cipher.encrypt(secret), "hours": keep_hours})
        audit.record(transaction, act("event.rotate_secret", endpoint_id, stored.organization_id))
    return secret


def disable(database: Database, endpoint_id: int) -> Endpoint:
    """Send an endpoint nothing; batches in flight are not written, and sent again once it is enabled."""
    with database.transaction() as transaction:
        stored = select(transaction, endpoint_id)
        transaction.execute(_DISABLE, (endpoint_id,))
        audit.record(transaction, act("event.disable", endpoint_id, stored.organization_id, reason="person"))
        return select(transaction, endpoint_id)


def enable(database: Database, endpoint_id: int, *, after: str | None = None) -> Endpoint:
    """Send an endpoint events again; see `BackMarket.enable_event_endpoint`."""
    with database.transaction() as transaction:
        restart(transaction)
        stored = select(transaction, endpoint_id)
        values: dict[str, Any] = {"transaction": None, "number": None, "history": None}
        if after is not None:
            values |= _begin(transaction, after)
        transaction.execute(_ENABLE, values | {"id": endpoint_id})
        transaction.execute(_RETRY_ALL, (endpoint_id,))
        audit.record(transaction, act("event.enable", endpoint_id, stored.organization_id))
        return select(transaction, endpoint_id)


def delete(database: Database, endpoint_id: int) -> None:
    """Delete an endpoint with its log and what waits to be sent."""
    with database.transaction() as transaction:
        stored = select(transaction, endpoint_id)
        transaction.execute("DELETE FROM backmarket.event_endpoints WHERE id = %s", (endpoint_id,))
        transaction.execute("DELETE FROM backmarket.event_attempts WHERE endpoint_id = %s", (endpoint_id,))
        audit.record(transaction, act("event.delete", endpoint_id, stored.organization_id))


def check_url(settings: Settings, url: str) -> None:
    """Refuse a URL that may not be called.

    Raises:
        InvalidArgument: if it may not.
    """
    try:
        webhook_place(url, frozenset(settings.event_private_origins))
    except OriginRefused as error:
        raise InvalidArgument(error.message) from None


def act(action: str, endpoint_id: int, organization_id: str | None, **details: object) -> audit.Act:
    """An act on an endpoint."""
    return audit.Act(action, organization_id, "endpoint", endpoint_id, details)


def _check_description(text: object) -> None:
    if not isinstance(text, str) or len(text) > MAX_DESCRIPTION_CHARS:
        raise InvalidArgument(f"A description has at most {MAX_DESCRIPTION_CHARS} characters.")


def _begin(transaction: Transaction, after: str) -> dict[str, Any]:
    """The position that a cursor names, which must be one that nothing was dropped after."""
    page = read(transaction, after, ChangeFilter(), 1)
    position, _ = decode_cursor(page.next_cursor if after == NOW else after)
    _, history = decode_cursor(page.next_cursor)
    return {"transaction": str(position[0]), "number": position[1], "history": history}


def _select(transaction: Transaction, condition: str, values: Mapping[str, Any]) -> list[Endpoint]:
    with transaction.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SELECT.format(condition).encode(), values).fetchall()
    return [_endpoint(row) for row in rows]


def _endpoint(row: dict[str, Any]) -> Endpoint:
    cursor = encode_cursor((int(row.pop("transaction_id")), row.pop("change_id")), row.pop("history"))
    return Endpoint(**row, cursor=cursor)


_SELECT = """
SELECT id, kind, organization_id, url, description, resources, kinds, fields, initial, state, disabled_reason,
    transaction_id::text, change_id, history, due_at < 'infinity' AS waiting, failures, failing_since, error_code,
    error, last_success_at, created_at
FROM backmarket.event_endpoints WHERE {} ORDER BY id LIMIT %(limit)s
"""

_CREATE = """
INSERT INTO backmarket.event_endpoints (kind, organization_id, url, description, secret, resources, kinds, fields,
    initial, transaction_id, change_id, history)
VALUES ('webhook', %(organization_id)s, %(url)s, %(description)s, %(secret)s, %(resources)s, %(kinds)s, %(fields)s,
    %(initial)s, %(transaction)s::text::xid8, %(number)s, %(history)s)
RETURNING id
"""

_HAS_TASK = "SELECT FROM backmarket.event_endpoints WHERE kind = 'task'"

_CREATE_TASK = """
INSERT INTO backmarket.event_endpoints (kind, transaction_id, change_id, history)
VALUES ('task', %(transaction)s::text::xid8, %(number)s, %(history)s) ON CONFLICT DO NOTHING
"""

_UPDATE = """
UPDATE backmarket.event_endpoints SET url = %(url)s, description = %(description)s, resources = %(resources)s,
    kinds = %(kinds)s, fields = %(fields)s, initial = %(initial)s
WHERE id = %(id)s
"""

_ROTATE = """
UPDATE backmarket.event_endpoints SET previous_secret = secret, secret = %(secret)s,
    previous_until = now() + make_interval(secs => %(hours)s * 3600)
WHERE id = %(id)s
"""

_DISABLE = """
UPDATE backmarket.event_endpoints SET state = 'disabled', disabled_reason = 'person',
    lease_number = lease_number + 1, lease_until = NULL, lease_owner = NULL
WHERE id = %s AND state = 'enabled'
"""

# It is not idle: the router has not looked for it. Its first slice reads up to the end of the feed.
_ENABLE = """
UPDATE backmarket.event_endpoints SET state = 'enabled', disabled_reason = NULL, idle = false, due_at = now(),
    paused_until = '-infinity', lease_number = lease_number + 1, lease_until = NULL, lease_owner = NULL,
    failures = 0, failing_since = NULL, error_code = NULL, error = NULL,
    transaction_id = COALESCE(%(transaction)s::text::xid8, transaction_id),
    change_id = COALESCE(%(number)s::bigint, change_id), history = COALESCE(%(history)s::text, history)
WHERE id = %(id)s
"""

_RETRY_ALL = "UPDATE backmarket.event_retries SET due_at = now(), since = now(), tries = 0 WHERE endpoint_id = %s"
"""Their days begin again; without that, the first failure would be the last."""
