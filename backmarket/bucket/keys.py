"""The names of objects in the bucket: a person can read them, and no two things share one.

An organization's id may be anything (`..`, `a/../b`, 200 characters of four bytes each); S3 takes keys of 1,024 bytes,
and some of its servers parts of 255 between two slashes. So a part is percent-encoded, and a long one ends in its hash.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal
from urllib.parse import quote

from backmarket.errors import InvalidArgument

LABELS = "labels/"
INVOICES = "invoices/"
BULK = "bulk/"
PREFIXES = (LABELS, INVOICES, BULK)
"""Prefixes of all our objects in the bucket."""

WHOLE = 180
"""Maximum length of a part that is kept whole; a longer one is cut, and with its hash always longer than this."""

_KEPT = 134
_PARTIAL = re.compile("%.?$")


def object_key(*parts: str | int) -> str:
    """The key of these parts: each percent-encoded, joined by slashes. Other parts give another key.

    Args:
        *parts: none of them empty.

    Raises:
        InvalidArgument: if a part is empty, or has a lone surrogate.
    """
    return "/".join(_encoded(str(part)) for part in parts)


def labels_prefix(organization_id: str) -> str:
    """Prefix of the keys of an organization's labels, and of no other's."""
    return f"{LABELS}{_encoded(organization_id)}/"


def invoices_prefix(organization_id: str) -> str:
    """Prefix of the keys of an organization's invoices, and of no other's."""
    return f"{INVOICES}{_encoded(organization_id)}/"


def label_key(organization_id: str, resource: Literal["deliveries", "returns"] | str, shipment_id: int) -> str:
    """Key of the label of a delivery or a return."""
    return f"{labels_prefix(organization_id)}{resource}/{shipment_id}.pdf"


def invoice_key(organization_id: str, order_id: int, write_id: int | str) -> str:
    """Key of an order's invoice, until it is sent.

    Args:
        order_id: of which order.
        write_id: of the write, so that two invoices of one order are two objects.
    """
    return f"{invoices_prefix(organization_id)}{order_id}/{_encoded(str(write_id))}.pdf"


def bulk_prefix(organization_id: str) -> str:
    """Prefix of the keys of an organization's bulk files, and of no other's."""
    return f"{BULK}{_encoded(organization_id)}/"


def bulk_job_prefix(organization_id: str, job_id: int) -> str:
    """Prefix of the keys of one bulk job's files."""
    return f"{bulk_prefix(organization_id)}{job_id}/"


def bulk_key(organization_id: str, job_id: int, name: str) -> str:
    """Key of a file of a bulk job.

    Args:
        job_id: of which job.
        name: `original` (as the seller gave it), `lines.csv` (what is sent), `report.csv`, or
            `tasks/` and a part's number (Back Market's answer about it).
    """
    return f"{bulk_job_prefix(organization_id, job_id)}{name}"


def _encoded(part: str) -> str:
    try:
        encoded = quote(part, safe="")
    except UnicodeEncodeError:
        raise InvalidArgument("A text with lone surrogates cannot be a part of an object's key.") from None
    if not encoded:
        raise InvalidArgument("A part of an object's key is empty.")
    if encoded in {".", ".."}:  # they would lead elsewhere
        return encoded.replace(".", "%2E")
    if len(encoded) <= WHOLE:
        return encoded
    return f"{_PARTIAL.sub('', encoded[:_KEPT])}~{hashlib.sha256(part.encode()).hexdigest()}"
