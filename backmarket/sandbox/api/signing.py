"""Links that every answer signs again, as the real API does: the same object, another text."""

from __future__ import annotations

import itertools
import re
from hashlib import sha256
from typing import Final

from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.responses import Answer

LIFETIME_SECONDS: Final = 3600
"""Seconds for which a signed link is valid after its answer."""

_NOTES: Final = re.compile(rb'(https://notes\.example/delivery_note/[^"?]*)')
_LABELS: Final = re.compile(rb'((?:https?://[^"?]*)?/static/(?:shipment|return)_labels/[^"?]*\.pdf)')
_numbers = itertools.count(1)


def signed(call: Call, answer: Answer) -> Answer:
    """The answer with its links signed as `Assumptions.signed_links` says."""
    which = call.world.settings.assumptions.signed_links
    if which == "none":
        return answer
    signature = sha256(str(next(_numbers)).encode()).hexdigest()[:27]
    expires = int(call.world.now().timestamp()) + LIFETIME_SECONDS
    query = rf"\1?AWSAccessKeyId=AKIASANDBOX&Signature={signature}%3D&Expires={expires}".encode()
    body = _NOTES.sub(query, answer.body)
    return answer._replace(body=_LABELS.sub(query, body) if which == "notes_and_labels" else body)
