"""Find: orders, listings and shipments of all sellers by a number, a SKU or the customer's name.

The text may be personal, so it is in no address: a form posts it, and a cookie of the browser takes it to the page.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from backmarket.console.request_context import RequestContext
from backmarket.errors import InvalidArgument
from backmarket.queries.find import MAX_CHARS, MatchedBy

HERE = "/find"
_TEXT = "find"
"""Where the cookie has the text; it lasts as long as the cookie, some minutes."""

WORDS = {
    MatchedBy.ORDER_NUMBER: "order number",
    MatchedBy.TRACKING_NUMBER: "tracking number",
    MatchedBy.IMEI: "IMEI",
    MatchedBy.SERIAL_NUMBER: "serial number",
    MatchedBy.SKU: "SKU",
    MatchedBy.NAME: "customer's name",
}


def search(context: RequestContext) -> Response:
    """Take the text to the page, which can then be reloaded and come back to."""
    context.request.session[_TEXT] = (context.given("text") or "")[: MAX_CHARS + 1]
    return context.go(HERE)


def show(context: RequestContext) -> Response:
    """What the text finds."""
    text, found, fault = context.request.session.get(_TEXT) or "", None, None
    try:
        found = context.bm.find(text) if text else None
    except InvalidArgument as error:
        fault = error.message
    return context.render(
        "find.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK,
        text=text,
        found=found,
        fault=fault,
        why=WORDS,
    )
