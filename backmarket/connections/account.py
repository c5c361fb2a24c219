"""The seller account that a key opens, checked before it is stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backmarket.client.endpoints import DEFAULT_LOCALES, check_api_key, check_base_url, check_locale, host_for
from backmarket.errors import InvalidArgument

if TYPE_CHECKING:
    from backmarket.settings import Settings


@dataclass(frozen=True, slots=True)
class Account:
    """The seller account that an API key opens, as it is about to be stored.

    Args:
        organization_id: of the owner.
        api_key: as Back Market gave it, without `Basic`.
        environment: `production` or `sandbox`.
        region: `EU`, `NA` or `AP`.
        locale: None: the region's first.
        base_url: None: the host of region and environment.
        markets: further locales whose listings are copied, too; None: as stored, if the region stays.
    """

    organization_id: str
    api_key: str = field(repr=False)
    environment: str = "production"
    region: str = "EU"
    locale: str | None = None
    base_url: str | None = None
    markets: Collection[str] | None = None

    def checked(self, settings: Settings) -> Account:
        """Return it in its normal form.

        Raises:
            InvalidArgument: if its id, key, region, environment, locale, base URL or a market is invalid.
        """
        region = self.region.upper()
        environment = self.environment.lower()
        host = host_for(region, environment)
        locale = check_locale(region, self.locale or DEFAULT_LOCALES[region])
        markets = self.markets
        if markets is not None:
            if isinstance(markets, str):
                raise InvalidArgument("markets is a list of locales, such as ['de-de', 'es-es'].")
            markets = sorted({check_locale(region, market) for market in markets} - {locale})
        return Account(
            check_organization_id(self.organization_id),
            check_api_key(self.api_key),
            environment,
            region,
            locale,
            check_base_url(self.base_url, host, settings),
            markets,
        )


def check_organization_id(organization_id: str) -> str:
    """Return the id itself, if it is valid.

    Raises:
        InvalidArgument: if it is empty, longer than 200 characters, or has an unprintable one.
    """
    if not 1 <= len(organization_id) <= 200 or not organization_id.isprintable():
        raise InvalidArgument("An organization id has 1 to 200 characters, all of them printable.")
    return organization_id
