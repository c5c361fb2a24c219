"""Settings of a running sandbox: its behaviour, and its assumptions on the real API."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Any, Literal

import msgspec

from backmarket.sandbox.times import LOCAL

ListOrder = Literal["creation_desc", "creation_asc", "modification_desc", "modification_asc"]


class Assumptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Unproved assumptions on the real API; `docs/assumptions.md` gives each with its alternative."""

    list_order: ListOrder = "creation_desc"
    date_filter: Literal["inclusive", "exclusive"] = "inclusive"
    limit_scope: Literal["account", "address"] = "account"
    sensitive_block: Literal["sensitive", "everything"] = "sensitive"
    past_the_end: Literal["404", "empty", "400"] = "404"
    page_size_above_maximum: Literal["refused", "clamped"] = "refused"
    count: Literal["exact", "low", "high"] = "exact"
    next_url: Literal["same_host", "other_host", "relative"] = "same_host"
    unpaid_orders: Literal["vanish", "stay"] = "vanish"
    bad_token: Literal["401", "403"] = "401"  # noqa: S105 - a status
    date_header: Literal["right", "fast", "slow", "missing"] = "right"
    cookies: Literal["none", "set", "bound"] = "none"
    cf_ray: Literal["always", "firewall"] = "always"
    order_id_field: Literal["either", "id", "order_id", "order_id_alone"] = "either"
    sku_missing: Literal["refused", "refused_if_several", "every_line"] = "refused"
    price_market: Literal["locale", "account"] = "locale"
    state_market: Literal["locale", "account"] = "locale"
    market_list: Literal["all", "offered"] = "all"
    task_result: Literal["recorded", "dict", "list", "text", "errors", "nothing"] = "recorded"
    file_lines: Literal["rows", "with_header"] = "rows"
    labels: Literal["token", "open"] = "token"
    signed_links: Literal["notes", "notes_and_labels", "none"] = "notes"
    naive_times: Literal["utc", "local"] = "utc"
    address_email: Literal["present", "absent"] = "present"

    @property
    def naive_zone(self) -> tzinfo:
        """Zone of times without an offset."""
        return UTC if self.naive_times == "utc" else LOCAL


class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How the sandbox behaves; every figure can be changed while it runs. Times are in seconds."""

    latency: float = 0.0
    """Latency of every answer; requests do not delay each other."""
    jitter: float = 0.0
    """Maximum additional latency, drawn from the seed."""
    enforce_limit: bool = True
    """False: requests over the limit are counted as violations but still answered."""
    limit: int = 200
    """Requests that an account (or an address, see `Assumptions.limit_scope`) may send in any `window`."""
    window: float = 10.0
    block: float = 10.0
    """Time for which all requests are refused once the limit was exceeded."""
    sensitive_limit: int = 20
    """The limit of the sensitive operations (categories), in the same window."""
    check_user_agent: bool = True
    """Refuse a request whose User-Agent does not begin with `BM-`."""
    task_delay: float = 1.0
    """Time from submitting a bulk file to its end."""
    sku_lines_limit: int = 2000
    """SKU lines that an account may send in `sku_lines_window`, bulk files and single updates together."""
    sku_lines_window: float = 3600.0
    file_lines_limit: int = 15_000
    shipping_page_size: int = 20
    """Rows on a page of deliveries or returns; callers cannot choose it."""
    label_bytes: int = 2000
    """Minimum size of a label, in bytes."""
    date_skew: float = 300.0
    """Error of the `Date` header if `Assumptions.date_header` is fast or slow."""
    error_shape: Literal["v1", "v2", "v3", "problem", "string", "html", "empty"] | None = None
    """Shape of every refusal, instead of the one documented for its operation."""
    assumptions: Assumptions = msgspec.field(default_factory=Assumptions)


def patched(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with some values replaced; `assumptions` is merged too.

    Raises:
        msgspec.ValidationError: if a name is unknown or a value is not allowed.
    """
    now = msgspec.to_builtins(settings)
    merged = now | changes
    merged["assumptions"] = now["assumptions"] | changes.get("assumptions", {})
    return msgspec.convert(merged, Settings)
