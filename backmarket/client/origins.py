"""Where a file may be fetched from: origins allowed by name, at public addresses.

A file's URL comes from outside and is parsed once, here, into a `Place`; requests go to that place, so that no second
parser can read the URL differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from string import punctuation
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from backmarket.client.endpoints import HOSTS
from backmarket.errors import ENV_PREFIX, OriginRefused
from backmarket.messages.urls import HOST_NAME

if TYPE_CHECKING:
    from backmarket.settings import Settings

MAX_URL_CHARS = 8192
"""Maximum length of a file's URL; signed ones have about 2,000 characters."""

_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,20}")
_BRACKETS = re.compile(r"\[[^\]]*\](?::\d*)?")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
"""Characters that no valid URL has, and that URL parsers read differently."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed URL.

    Attributes:
        scheme: `http` or `https`.
        host: a name in lower case, or an IP address, without brackets.
        port: always a number.
        target: path and query, as sent; never shown, as a query may carry a signature.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)

    @property
    def authority(self) -> str:
        """The host for a `Host` header, with the port if it is not the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port in the normal form used to compare."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Origins:
    """Which origins a kind of file may be fetched from, beside the connection's own.

    Args:
        kind: of file, for errors: `label`, `invoice`.
        setting: the variable that allows another origin.
        allowed: the origins; requests to them carry no key.
        private: origins that the operator allows at an address that is not public: those of
            `ALLOWED_BASE_URLS`, and allowed ones that are written as an IP address.
    """

    kind: str
    setting: str
    allowed: frozenset[str]
    private: frozenset[str]

    @classmethod
    def of_labels(cls, settings: Settings) -> Origins:
        """Labels: Back Market's own hosts, and `LABEL_ORIGINS`."""
        return cls._named("label", "LABEL_ORIGINS", (*HOSTS.values(), *settings.label_origins), settings)

    @classmethod
    def of_invoices(cls, settings: Settings) -> Origins:
        """Invoices: `INVOICE_ORIGINS`."""
        return cls._named("invoice", "INVOICE_ORIGINS", settings.invoice_origins, settings)

    @classmethod
    def _named(cls, kind: str, setting: str, allowed: tuple[str, ...], settings: Settings) -> Origins:
        places = [place_of(each) for each in allowed]
        literal = {place.origin for place in places if is_literal(place.host)}
        trusted = {place_of(each).origin for each in settings.allowed_base_urls}
        return cls(
            kind, f"{ENV_PREFIX}{setting}", frozenset(each.origin for each in places), frozenset(literal | trusted)
        )

    def admit(self, url: str, *, own: str | None, base: Place | None = None) -> Place:
        """Parse a URL, if it may be fetched.

        Args:
            url: absolute, or relative to `base`.
            own: the connection's origin, in the form of `Place.origin`.
            base: source of `url`: the connection's base URL, or the place that redirects.

        Raises:
            OriginRefused: if it may not; the text names its origin and the setting that would allow it.
        """
        try:
            place = place_of(url, base)
        except ValueError as error:
            raise OriginRefused(f"The {self.kind}'s address cannot be used: {error}.") from None
        if place.origin != own and place.origin not in self.allowed:
            raise OriginRefused(
                f"The {self.kind} is at {place.origin}, which is not allowed: if it may be fetched from there,"
                f" add that origin to {self.setting}."
            )
        return place

    def refuse_address(self, place: Place) -> OriginRefused:
        """The error for an allowed origin with an address that is not public."""
        return OriginRefused(
            f"The {self.kind} is at {place.origin}, whose address is not a public one: if that is meant, write the"
            f" origin with its IP address in {self.setting}, or name it in {ENV_PREFIX}ALLOWED_BASE_URLS."
        )


def place_of(url: str, base: Place | None = None) -> Place:
    """Read an address.

    White space around it, upper case, a final dot of the host and the scheme's default port are ignored; a space
    or a letter beyond ASCII in path or query is percent-encoded; a fragment is left out.

    Args:
        url: absolute, or relative to `base`.
        base: source of `url`; None: only an absolute URL is valid.

    Raises:
        ValueError: if it is not an http or https URL; the text never quotes it.
    """
    text = url.strip(" \t\r\n")
    if not text or len(text) > MAX_URL_CHARS:
        raise ValueError(f"it is empty, or longer than {MAX_URL_CHARS} characters")
    if _FORBIDDEN.search(text):
        raise ValueError("it has a backslash, a control character or a lone surrogate")
    try:
        parts = urlsplit(urljoin(f"{base.origin}{base.target}", text) if base else text)
        port = parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read") from None
    if parts.scheme not in _PORTS:
        shown = f", not {parts.scheme}" if _SCHEME.fullmatch(parts.scheme) else ""
        raise ValueError(f"it must begin with https:// or http://{shown}")
    if "@" in parts.netloc:
        raise ValueError("it names a user")
    if port == 0:
        raise ValueError("its port is 0")
    host = _host(parts.netloc, parts.hostname or "")
    target = quote(parts.path or "/", safe=punctuation) + (
        f"?{quote(parts.query, safe=punctuation)}" * bool(parts.query)
    )
    return Place(parts.scheme, host, port or _PORTS[parts.scheme], target)


@lru_cache(maxsize=1024)
def own_place(base_url: str) -> Place:
    """A connection's base URL, parsed."""
    return place_of(base_url)


def is_public(address: str) -> bool:
    """Whether an IP address is public: not private, loopback, link-local, shared, multicast,
    reserved, or an IPv6 address for such an IPv4 one.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip.ipv4_mapped:
        return is_public(str(ip.ipv4_mapped))
    if ip in _NAT64:
        return is_public(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and ip in _GLOBAL_UNICAST and ip not in _SIX_TO_FOUR


def _host(netloc: str, host: str) -> str:
    if netloc.startswith("["):
        try:
            ip = IPv6Address(host if _BRACKETS.fullmatch(netloc) else "")
        except ValueError:
            raise ValueError("its IP address cannot be read") from None
        if ip.scope_id:
            raise ValueError("its IP address names a network interface")
        if ip.ipv4_mapped:  # in one form: Python 3.13 and later write the IPv4 address with dots
            return "::ffff:{:x}:{:x}".format(*divmod(int(ip.ipv4_mapped), 1 << 16))
        return ip.compressed
    host = host.removesuffix(".")
    if not netloc.isascii() or not HOST_NAME.fullmatch(host):
        raise ValueError("its host is not a plain ASCII name")
    return host


def is_literal(host: str) -> bool:
    """Whether a host is written as an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
