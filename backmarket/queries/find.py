"""Find orders, listings and shipments of all organizations by what people have at hand: a number, a SKU, a name.

Each way of finding is one look into an index, of a whole value or of a name's beginning, and takes a bounded number of
rows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from backmarket.database import Transaction
from backmarket.errors import InvalidArgument
from backmarket.queries.listings import STORED_LISTINGS, Listing
from backmarket.queries.orders import STORED_ORDERS, Order
from backmarket.queries.pagination import Stored, check_limit
from backmarket.queries.shipments import STORED_DELIVERIES, STORED_RETURNS, Delivery, Return
from backmarket.queries.skus import has_sku

T = TypeVar("T")

MAX_ROWS = 100
"""Maximum number of rows of each kind."""
MAX_CHARS = 200
"""Maximum length of the text, in characters."""
MAX_SECONDS = 5
"""Seconds after which PostgreSQL cancels a search."""


class MatchedBy(StrEnum):
    """What of a row, or of its lines, is the searched text."""

    ORDER_NUMBER = "order_number"
    TRACKING_NUMBER = "tracking_number"
    IMEI = "imei"
    SERIAL_NUMBER = "serial_number"
    SKU = "sku"
    NAME = "name"
    """The beginning of the customer's last name, with or without the beginning of the first name."""


@dataclass(frozen=True, slots=True)
class Hit(Generic[T]):
    """A found row.

    Attributes:
        row: the row, also one that the API no longer knows.
        environment: of its connection, `production` or `sandbox`.
        matched_by: why it was found.
    """

    row: T
    environment: str
    matched_by: tuple[MatchedBy, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, by kind; matches of a number come first, then the newest.

    Attributes:
        orders: also by what is registered of their lines.
        listings: by SKU.
        deliveries: by tracking number.
        returns: by tracking number.
        more: the kinds of which there are more than the limit.
    """

    orders: list[Hit[Order]]
    listings: list[Hit[Listing]]
    deliveries: list[Hit[Delivery]]
    returns: list[Hit[Return]]
    more: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of found rows of each kind."""
        return {kind: len(getattr(self, kind)) for kind in _KINDS}


def find(transaction: Transaction, text: str, organization_id: str | None, limit: int) -> Found:
    """Search the stored rows; see `BackMarket.find`."""
    check_limit(limit, MAX_ROWS)
    text = " ".join(text.split())
    if not 1 <= len(text) <= MAX_CHARS:
        raise InvalidArgument(f"A search needs a text of 1 to {MAX_CHARS} characters.")
    transaction.execute(f"SET LOCAL statement_timeout = '{MAX_SECONDS}s'".encode())
    values = {**_asked(text), "organization": organization_id, "limit": limit + 1}
    hits: dict[str, dict[tuple[str, str], list[MatchedBy]]] = {kind: {} for kind in _KINDS}
    environments: dict[str, str] = {}
    for kind, matched_by, organization, key, environment in transaction.execute(_HITS.encode(), values).fetchall():
        hits[kind].setdefault((organization, key), []).append(MatchedBy(matched_by))
        environments[organization] = environment
    found: dict[str, list[Any]] = {}
    for kind, stored in _KINDS.items():
        rows = stored.of_keys(transaction, [*hits[kind]][:limit])
        found[kind] = [
            Hit(rows[key], environments[key[0]], tuple(dict.fromkeys(why)))
            for key, why in hits[kind].items()
            if key in rows
        ]
    return Found(**found, more=tuple(kind for kind in _KINDS if len(hits[kind]) > limit))


def _asked(text: str) -> Mapping[str, Any]:
    """What is compared: the text as it is, as people and scanners spell numbers, as a number, and as a name."""
    joined = text.translate(_BETWEEN_DIGITS)
    number = joined.removeprefix("#")
    is_number = number.isascii() and number.isdigit() and len(number) <= 18
    is_name = any(each.isalpha() for each in text) and not any(each.isdigit() for each in text)
    return {
        "text": text,
        "spellings": sorted(
            {spelling for each in (text, joined or text) for spelling in (each, each.upper(), each.lower())}
        ),
        "number": int(number) if is_number else None,
        "name": text if is_name else None,
    }


_KINDS: dict[str, Stored[Any]] = {
    "orders": STORED_ORDERS,
    "listings": STORED_LISTINGS,
    "deliveries": STORED_DELIVERIES,
    "returns": STORED_RETURNS,
}

_BETWEEN_DIGITS = str.maketrans("", "", " -")

_OWN = "(%(organization)s::text IS NULL OR t.organization_id = %(organization)s)"


def _by(kind: str, matched_by: MatchedBy, condition: str, *, of_lines: bool = False) -> str:
    """One way of finding: the newest rows that meet a condition, or whose present order lines do."""
    key, table = _KINDS[kind].key, "orderlines" if of_lines else _KINDS[kind].table
    if of_lines:
        condition += " AND t.removed_at IS NULL"
    return f"""(
    SELECT '{kind}' AS kind, '{matched_by}' AS matched_by, t.organization_id, t.{key}::text AS key
    FROM backmarket.{table} t WHERE {condition} AND {_OWN}
    GROUP BY t.organization_id, t.{key} ORDER BY t.{key} DESC LIMIT %(limit)s
    ) AS one"""


_BY_NAME = f"""(
    SELECT 'orders' AS kind, '{MatchedBy.NAME}' AS matched_by, t.organization_id, t.order_id::text AS key
    FROM backmarket.folded(%(name)s) AS name CROSS JOIN string_to_array(name, ' ') AS words
    CROSS JOIN unnest(CASE WHEN cardinality(words) > 1 THEN words || name ELSE words END) AS word
    CROSS JOIN LATERAL (SELECT array_agg('%% ' || each || '%%') AS all_words FROM unnest(words) AS each) AS patterns
    CROSS JOIN LATERAL (
        SELECT t.organization_id, t.order_id, t.name_key FROM backmarket.orders t
        WHERE t.name_key >= word AND t.name_key < word || chr(1114111) AND {_OWN}
          AND ' ' || t.name_key LIKE ALL (all_words)
        ORDER BY t.name_key, t.organization_id, t.order_id DESC LIMIT %(limit)s
    ) AS t WHERE octet_length(word) > 1 ORDER BY t.name_key, t.organization_id, t.order_id DESC LIMIT %(limit)s
    ) AS one"""

_SPELT = "t.{0} = ANY(%(spellings)s) AND t.{0} <> ''"

_WAYS: Sequence[str] = (
    _by("orders", MatchedBy.ORDER_NUMBER, "CASE WHEN t.order_id > 0 THEN t.order_id END = %(number)s"),
    _by("orders", MatchedBy.TRACKING_NUMBER, _SPELT.format("tracking_number")),
    _by("orders", MatchedBy.IMEI, _SPELT.format("imei"), of_lines=True),
    _by("orders", MatchedBy.SERIAL_NUMBER, _SPELT.format("serial_number"), of_lines=True),
    _by("orders", MatchedBy.SKU, has_sku("t", "listing", "%(text)s"), of_lines=True),
    _BY_NAME,
    _by("listings", MatchedBy.SKU, has_sku("t", "sku", "%(text)s")),
    _by("deliveries", MatchedBy.TRACKING_NUMBER, _SPELT.format("tracking_number")),
    _by("returns", MatchedBy.TRACKING_NUMBER, _SPELT.format("tracking_number")),
)

_ALL = " UNION ALL ".join(
    f"SELECT {number} AS way, row_number() OVER () AS place, one.* FROM {way}" for number, way in enumerate(_WAYS)
)

_HITS = f"""
SELECT found.kind, found.matched_by, found.organization_id, found.key, c.environment
FROM ({_ALL}) AS found
JOIN backmarket.connections c ON c.organization_id = found.organization_id
ORDER BY found.way, found.place
"""
