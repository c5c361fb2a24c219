"""Where a request comes from: the peer of its connection, or the address that a trusted proxy reports."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.requests import HTTPConnection

Networks = Sequence[IPv4Network | IPv6Network]


def networks(addresses: Sequence[str]) -> Networks:
    """Addresses and networks in the form of the settings."""
    return [ip_network(each) for each in addresses]


def is_within(address: str, trusted: Networks) -> bool:
    """Whether an address is one of these; an IPv4-mapped IPv6 address counts as the IPv4 address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in each for each in trusted if each.version == found.version)


def network_of(address: str) -> str:
    """What tries are counted by: an IPv4 address, or the /64 of an IPv6 address, all of which one host can use."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)


def comes_from(request: HTTPConnection, trusted: Networks) -> bool:
    """Whether the connection itself is from one of these."""
    return request.client is not None and is_within(request.client.host, trusted)


def client_address(request: HTTPConnection, trusted: Networks) -> str:
    """The address of the person's machine: the last one in `X-Forwarded-For` that is not a trusted proxy's."""
    peer = request.client.host if request.client else ""
    if not is_within(peer, trusted):
        return peer
    named = [each.strip() for each in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
    return next((each for each in reversed(named) if each and not is_within(each, trusted)), peer)
