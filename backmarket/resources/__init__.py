"""What the API's resources look like: how each is asked for, parsed, identified and stored.

A resource is a declaration (`orders.py`, `listings.py`, `shipments.py`); `columns.py` says what kinds of columns there
are and how a value becomes one; `parsing.py` turns an answer's bytes into rows.
"""

from backmarket.resources.columns import Column, Kind
from backmarket.resources.listings import LISTINGS
from backmarket.resources.orders import ORDERLINES, ORDERS
from backmarket.resources.parsing import Page, Row, parse_object, parse_page
from backmarket.resources.personal import blank, blank_object
from backmarket.resources.resource import Lines, Lookback, Resource
from backmarket.resources.shipments import DELIVERIES, RETURNS

RESOURCES = {resource.name: resource for resource in (ORDERS, LISTINGS, DELIVERIES, RETURNS)}
"""By name, as `sync_state.resource` has it."""

__all__ = [
    "DELIVERIES",
    "LISTINGS",
    "ORDERLINES",
    "ORDERS",
    "RESOURCES",
    "RETURNS",
    "Column",
    "Kind",
    "Lines",
    "Lookback",
    "Page",
    "Resource",
    "Row",
    "blank",
    "blank_object",
    "parse_object",
    "parse_page",
]
