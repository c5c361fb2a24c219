"""The typed client: every operation of the API, for one key, without PostgreSQL and Redis."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

from backmarket.client.api.backbox import BackboxCalls
from backmarket.client.api.buyback import BuybackCalls
from backmarket.client.api.care import CareCalls
from backmarket.client.api.categories import CategoryCalls
from backmarket.client.api.listings import ListingCalls
from backmarket.client.api.orders import OrderCalls
from backmarket.client.api.shipping import ShippingCalls
from backmarket.client.caller import Caller
from backmarket.client.credentials import Credentials
from backmarket.client.endpoints import DEFAULT_LOCALES, check_api_key, check_base_url, check_locale, host_for
from backmarket.client.local_limits import OwnLimits, name_account
from backmarket.client.transport import Transport
from backmarket.errors import InvalidArgument
from backmarket.settings import Settings, load_settings, user_agent_of

Region = Literal["EU", "NA", "AP"]
Environment = Literal["production", "sandbox"]


class BackMarketClient(OrderCalls, ListingCalls, ShippingCalls, CategoryCalls, BuybackCalls, CareCalls, BackboxCalls):
    """Every operation of the API as a method; made by `create_backmarket_client`.

    May be shared between threads. Its limits are this process's own: all clients of the process with the same key
    share them. They do not count requests of workers, of other processes, or from before the process began.
    If several processes use a key, use `BackMarket`, whose limiter all of them share.

    A read is tried up to four times, with pauses between. A write is sent once.

    Raises:
        InvalidArgument: if an argument is invalid; the text names it, and nothing was sent.
        RateLimited: if a limit stays used up for longer than `patience`, or the API answered 429; see `retry_after`.
        UnknownOutcome: if a write was sent, and its answer was lost or unreadable: check before you send it again.
        NetworkError, ServerError, BrokenAnswer: if a read failed four times; or, `NetworkError` with `delivery`
            `not_sent`, if a write was not sent.
        Unauthorized, NotAvailable, NotFound, RequestRefused, FirewallBlocked: if the API refused the request.
    """

    def __init__(self, caller: Caller, market: tuple[str, str]) -> None:
        super().__init__(caller)
        self._market = market

    def __repr__(self) -> str:
        region, environment = self._market
        locale = self._caller.credentials.locale
        return f"<BackMarketClient {region} {environment} {locale}, with limits of this process alone>"

    def with_locale(self, locale: str) -> BackMarketClient:
        """The same client for another market of its region, for which it reads and writes prices and texts.

        Args:
            locale: such as `de-de`.

        Raises:
            InvalidArgument: if the region has no such locale.
        """
        locale = check_locale(self._market[0], locale)
        caller = replace(self._caller, credentials=replace(self._caller.credentials, locale=locale))
        return BackMarketClient(caller, self._market)

    def close(self) -> None:
        """Close its connections, and those of the clients that its `with_locale` created."""
        self._caller.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def create_backmarket_client(
    api_key: str,
    *,
    environment: Environment = "production",
    region: Region = "EU",
    locale: str | None = None,
    base_url: str | None = None,
    user_agent: str | None = None,
    settings: Settings | None = None,
    patience: float = 30.0,
) -> BackMarketClient:
    """A client for one key, which needs neither PostgreSQL nor Redis.

    Its limits are this process's own; see `BackMarketClient`.

    Args:
        api_key: as Back Market shows it, without `Basic`.
        environment: `production`, or `sandbox` for Back Market's test environment.
        region: of the account.
        locale: the market that prices and texts belong to; None: the region's first.
        base_url: another origin than Back Market's, of those that `BACKMARKET_ALLOWED_BASE_URLS` names.
        user_agent: `BM-{Company}-{Integration};contact`; None: the setting `BACKMARKET_USER_AGENT`.
        settings: limits and timeouts; None: from the environment.
        patience: seconds that a call waits for the limits before it raises `RateLimited`.

    Raises:
        InvalidArgument: if an argument is invalid; the text says why.
        SettingsError: if a setting is missing or wrong.
    """
    settings = settings or load_settings()
    region, environment = region.upper(), environment.lower()  # type: ignore[assignment]
    host = host_for(region, environment)
    credentials = Credentials(
        check_base_url(base_url, host, settings) or host,
        check_api_key(api_key),
        name_account(api_key),
        check_locale(region, locale or DEFAULT_LOCALES[region]),
    )
    transport = Transport(
        user_agent=settings.need("user_agent") if user_agent is None else _check_user_agent(user_agent),
        connect_timeout=settings.connect_timeout,
        deadline=settings.request_deadline,
    )
    caller = Caller(transport, OwnLimits(settings, patience=patience), credentials, settings.order_update_sends_id)
    return BackMarketClient(caller, (region, environment))


def _check_user_agent(user_agent: str) -> str:
    try:
        return user_agent_of(user_agent)
    except ValueError as error:
        raise InvalidArgument(f"The argument user_agent {error}.") from None
