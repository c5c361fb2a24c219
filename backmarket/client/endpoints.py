"""Hosts of the API by region and environment, the locales of each region, and checks of keys and base URLs.

Source: the `servers` and the `Locale` schema of the published OpenAPI document, version 0.1.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from backmarket.errors import InvalidArgument
from backmarket.messages.urls import origin_of

if TYPE_CHECKING:
    from backmarket.settings import Settings

HOSTS = {
    ("EU", "production"): "https://www.backmarket.fr",
    ("NA", "production"): "https://www.backmarket.com",
    ("AP", "production"): "https://www.backmarket.co.jp",
    ("EU", "sandbox"): "https://preprod.backmarket.fr",
    ("NA", "sandbox"): "https://preprod.backmarket.com",
    ("AP", "sandbox"): "https://preprod.backmarket.co.jp",
}

Environment = Literal["production", "sandbox"]
Region = Literal["EU", "NA", "AP"]
ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)

LOCALES = {
    "EU": (
        "fr-fr fr-be es-es de-de de-at it-it en-gb nl-nl pt-pt en-ie el-gr sk-sk sv-se".split()  # noqa: SIM905
    ),
    "NA": ["en-us"],
    "AP": ["ja-jp", "en-au"],
}

DEFAULT_LOCALES = {"EU": "fr-fr", "NA": "en-us", "AP": "ja-jp"}


def host_for(region: str, environment: str) -> str:
    """The origin of a region and environment.

    Raises:
        InvalidArgument: if there is no such region or environment.
    """
    try:
        return HOSTS[region, environment]
    except KeyError:
        raise InvalidArgument(
            f"There is no region {region!r} with environment {environment!r}:"
            " the regions are EU, NA and AP, the environments production and sandbox."
        ) from None


def check_locale(region: str, locale: str) -> str:
    """Return the locale in lower case, if the region has it.

    Raises:
        InvalidArgument: if it does not; the text lists the region's locales.
    """
    known = LOCALES[region]
    if locale.lower() not in known:
        raise InvalidArgument(f"Region {region} has no locale {locale!r}; it has {', '.join(known)}.")
    return locale.lower()


def check_api_key(api_key: str) -> str:
    """Return the key itself, if it can be sent in a header.

    Raises:
        InvalidArgument: if it cannot.
    """
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise InvalidArgument(
            "The API key is not one word of printable ASCII characters. Give it as Back Market shows it, without"
            " `Basic`."
        )
    return api_key


def check_base_url(base_url: str | None, host: str, settings: Settings) -> str | None:
    """Return a connection's own origin; None: Back Market's.

    Raises:
        InvalidArgument: if it is not an origin, or not an allowed one.
    """
    if base_url is None:
        return None
    try:
        origin = origin_of(base_url)
    except ValueError as error:
        raise InvalidArgument(f"This base URL cannot be used: {error}.") from None
    if origin == host:
        return None
    if origin not in settings.allowed_base_urls:
        hint = " It belongs to another region or environment." if origin in HOSTS.values() else ""
        raise InvalidArgument(
            f"The base URL is not {host} and not in BACKMARKET_ALLOWED_BASE_URLS; a token goes nowhere else.{hint}"
        )
    return origin
