"""Read labels: their states, and their objects in the bucket."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from psycopg.rows import class_row

from backmarket.database import Database
from backmarket.errors import InvalidArgument, LabelNotFound, LabelNotStored, LabelUnavailable
from backmarket.queries.pagination import Page, check_limit, decode_cursor, whole

Shipments = Literal["deliveries", "returns"]
"""Resources with labels."""

SHIPMENTS: tuple[Shipments, ...] = ("deliveries", "returns")


class LabelState(StrEnum):
    """State of a label."""

    WANTED = "wanted"
    """It is to be fetched into the bucket when it is due."""
    SKIPPED = "skipped"
    """The sync that found it was told to skip labels."""
    STORED = "stored"
    """It is in the bucket."""
    UNAVAILABLE = "unavailable"
    """It was given up after many tries, or must not be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The shipping label of a delivery or a return.

    Attributes:
        resource: `deliveries` or `returns`.
        shipment_id: of the delivery or return.
        state: see `LabelState`.
        url: from the API: a path, or a URL.
        noted_at: when it was first seen with this URL.
        due_at: when it is tried next, if it is wanted.
        tries: failed tries so far.
        error_code: of the last try, if it failed.
        error: its text.
        object_key: its name in the bucket, if it is stored, or was until its URL changed; so are those below.
        size: in bytes.
        sha256: hexadecimal.
        etag: the server's identifier of this content.
        content_type: its media type.
        stored_at: when it was stored.
    """

    organization_id: str
    resource: str
    shipment_id: int
    state: LabelState
    url: str = field(repr=False)
    noted_at: datetime
    due_at: datetime
    tries: int
    error_code: str | None
    error: str | None
    object_key: str | None
    size: int | None
    sha256: str | None
    etag: str | None
    content_type: str | None
    stored_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", LabelState(self.state))


COLUMNS = ", ".join(each.name for each in fields(Label))
"""The SQL column list of a label."""


def get_label(database: Database, organization_id: str, resource: str, shipment_id: int) -> Label | None:
    """One label; None: it is not known.

    Raises:
        InvalidArgument: if there is no such resource.
    """
    check_resource(resource)
    found = _select(
        database,
        "resource = %(resource)s AND shipment_id = %(shipment)s",
        {"organization": organization_id, "resource": resource, "shipment": shipment_id},
    )
    return found[0] if found else None


def get_labels(
    database: Database,
    organization_id: str,
    *,
    resource: str | None = None,
    state: LabelState | str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Label]:
    """The labels of one organization: of deliveries, then of returns, by the shipment's id.

    Args:
        resource: of `deliveries` or `returns` only.
        state: of this state only.
        limit: 1 to 1000.
        cursor: of the page before.

    Raises:
        InvalidArgument: if an argument is invalid.
    """
    check_limit(limit)
    conditions, values = ["true"], {"organization": organization_id, "limit": limit + 1}
    if resource is not None:
        conditions.append("resource = %(resource)s")
        values["resource"] = check_resource(resource)
    if state is not None:
        conditions.append("state = %(state)s")
        values["state"] = _state(state).value
    if cursor is not None:
        conditions.append("(resource, shipment_id) > (%(after)s, %(after_id)s)")
        values["after"], values["after_id"] = decode_cursor(cursor, check_resource, whole)
    rows = _select(database, f"{' AND '.join(conditions)} ORDER BY resource, shipment_id LIMIT %(limit)s", values)
    return Page.of(rows, limit, lambda label: [label.resource, label.shipment_id])


def need_label(database: Database, organization_id: str, resource: str, shipment_id: int) -> Label:
    """One label, in whatever state.

    Raises:
        LabelNotFound: if it is not known; the text says what to do.
    """
    label = get_label(database, organization_id, resource, shipment_id)
    if label is None:
        one = {"deliveries": "delivery", "returns": "return"}[resource]
        raise LabelNotFound(
            f"No label of {one} {shipment_id} of this organization is known: the {one} was not synced yet"
            f" (`fetch_{one}` requests it now), the API gives no label for it, or its personal data was erased."
        )
    return label


def need_stored(label: Label) -> str:
    """The key of a label that is in the bucket.

    Raises:
        LabelNotStored: if it is not stored yet; the text says when it is tried next.
        LabelUnavailable: if it was given up; the text says why.
    """
    if label.object_key is not None and label.state is not LabelState.UNAVAILABLE:
        return label.object_key
    name = f"The label of {label.resource} {label.shipment_id}"
    why = f" The last try: {label.error}" if label.error else ""
    again = "`download_label` (of a return: `download_return_label`) requests it now"
    match label.state:
        case LabelState.UNAVAILABLE:
            raise LabelUnavailable(f"{name} was given up.{why} Once that is fixed, {again}.")
        case LabelState.SKIPPED:
            raise LabelNotStored(f"{name} was skipped, as its sync skips labels. {again}.")
        case _:
            raise LabelNotStored(
                f"{name} is not stored yet; it is retried after {label.due_at:%Y-%m-%d %H:%M:%S %Z}.{why} {again}."
            )


def _select(database: Database, condition: str, values: dict[str, Any]) -> list[Label]:
    statement = f"SELECT {COLUMNS} FROM backmarket.labels WHERE organization_id = %(organization)s AND {condition}"
    with database.transaction() as transaction, transaction.cursor(row_factory=class_row(Label)) as cursor:
        return cursor.execute(statement.encode(), values).fetchall()


def check_resource(resource: str) -> str:
    """A resource that has labels.

    Raises:
        InvalidArgument: if it has none.
    """
    if resource not in SHIPMENTS:
        raise InvalidArgument(f"{resource!r} have no labels. Choose {' or '.join(SHIPMENTS)}.")
    return resource


def _state(state: LabelState | str) -> LabelState:
    try:
        return LabelState(state)
    except ValueError:
        known = ", ".join(each.value for each in LabelState)
        raise InvalidArgument(f"{state!r} is not a label's state. Choose one of {known}.") from None
