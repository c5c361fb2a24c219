"""The API's resources: how each is requested, parsed, identified and stored.

A resource is a declaration (`orders.py`, `listings.py`, `shipments.py`); `columns.py` has the kinds of columns, and
converts values to them; `parsing.py` turns an answer's bytes into rows.
"""

from typing import Literal, cast, get_args

from backmarket.errors import InvalidArgument
from backmarket.resources.columns import Column, Kind
from backmarket.resources.listings import LISTINGS, OF_A_MARKET, listings_in
from backmarket.resources.orders import ORDERLINES, ORDERS
from backmarket.resources.parsing import Page, Row, as_in, parse_object, parse_page
from backmarket.resources.personal import blank, blank_object
from backmarket.resources.resource import Lines, Lookback, Resource
from backmarket.resources.shipments import DELIVERIES, RETURNS

RESOURCES = {resource.name: resource for resource in (ORDERS, LISTINGS, DELIVERIES, RETURNS)}
"""The resources by name, as in `sync_state.resource`."""


ResourceName = Literal["orders", "listings", "deliveries", "returns"]
"""The names of `RESOURCES`."""
RESOURCE_NAMES: tuple[ResourceName, ...] = get_args(ResourceName)


def check_resource(name: str) -> ResourceName:
    """The name itself, if there is such a resource.

    Raises:
        InvalidArgument: if there is no such resource.
    """
    if name not in RESOURCES:
        raise InvalidArgument(f"There is no resource {name!r}. Choose one of {', '.join(RESOURCES)}.")
    return cast(ResourceName, name)


def resource_in(name: str, market: str) -> Resource:
    """A resource as one market shows it.

    Args:
        name: of `RESOURCES`.
        market: a further market of the connection, for listings; else empty.

    Raises:
        InvalidArgument: if the resource is the same in all markets.
    """
    if market and name != LISTINGS.name:
        raise InvalidArgument(f"{name} are the same in all markets: name no market, or choose listings.")
    return listings_in(market) if market else RESOURCES[name]


__all__ = [
    "DELIVERIES",
    "LISTINGS",
    "OF_A_MARKET",
    "ORDERLINES",
    "ORDERS",
    "RESOURCES",
    "RESOURCE_NAMES",
    "RETURNS",
    "Column",
    "Kind",
    "Lines",
    "Lookback",
    "Page",
    "Resource",
    "ResourceName",
    "Row",
    "as_in",
    "blank",
    "blank_object",
    "check_resource",
    "listings_in",
    "parse_object",
    "parse_page",
    "resource_in",
]
