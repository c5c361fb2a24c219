"""The settings, read once from the environment (prefix `BACKMARKET_`), typed, and refused early.

`.env.example` lists every one of them with a safe value.
"""

from __future__ import annotations

import os
import re
import socket
from functools import cached_property
from ipaddress import IPv6Address, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backmarket.errors import SettingsError
from backmarket.messages import redis_urls, urls

ENV_PREFIX = "BACKMARKET_"

HEADER_NAME = r"^[A-Za-z0-9-]{0,100}$"
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""A host's name in lower case, without a final dot; the names of containers may have underscores."""

MIN_PROXY_PREFIX = {4: 8, 6: 7}
"""Shortest prefix of a network of proxies, by the version of IP: those of the widest private networks."""
MAX_INTEGER = 2**31 - 1
"""Maximum of an integer setting: PostgreSQL and Redis can calculate with it."""
MAX_SECONDS = 31_622_400.0
"""Maximum of a time setting, a year: dates can be calculated with it."""

_REDIS = {"redis_url": redis_urls.LIMITER_SCHEMES, "broker_url": redis_urls.BROKER_SCHEMES}

RENAMED = {
    "bulk_poll_first": "bulk_poll_initial_seconds",
    "bulk_poll_late": "bulk_poll_max_late_seconds",
    "bulk_poll_longest": "bulk_poll_max_seconds",
    "console_proxy_act_group": "console_proxy_operator_group",
    "health_patience": "health_stall_seconds",
    "walking_turns": "max_long_syncs",
}
"""Settings that have another name now: the old name is refused, in the environment and as a keyword."""


class Settings(BaseSettings):
    """Every figure and address that a deployment may choose.

    A missing or wrong setting raises `SettingsError` at the first use that needs it,
    with a sentence that says which variable to set.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr | None = None
    """PostgreSQL, as a libpq URL: `postgresql://user:password@host:5432/name`."""
    database_pool_size: Annotated[int, Field(ge=1, le=1000)] = 8
    """Connections to PostgreSQL a process may hold."""
    redis_url: SecretStr | None = None
    """Redis or Valkey for the limits and, unless `BROKER_URL` says otherwise, the broker."""
    broker_url: SecretStr | None = None
    """The broker's own Redis, if it is another than `REDIS_URL`."""

    s3_endpoint_url: str | None = None
    s3_public_endpoint_url: str | None = None
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    s3_bucket: str = "backmarket"
    s3_region: Annotated[str, Field(min_length=1)] = "us-east-1"

    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Fernet keys for API keys at rest; the first one encrypts, all decrypt."""
    limiter_key: SecretStr | None = None
    """Names an account by a keyed hash of its API key; must stay the same while `SECRET_KEYS` rotate."""
    user_agent: str | None = None
    """`BM-{Company}-{Integration};contact@company.example`, which the API asks of every caller."""
    allowed_base_urls: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins beside Back Market's own that a connection may name."""
    label_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins beside Back Market's own, and the connection's, that labels may be fetched from."""
    label_max_bytes: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 20 * 1024 * 1024
    """Maximum size of a label, in bytes."""
    invoice_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins that invoices named by a URL may be fetched from."""
    invoice_max_bytes: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 10 * 1024 * 1024
    """Maximum size of an invoice, in bytes."""

    rate_limit: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 200
    """Requests that one account may send in any `rate_window`."""
    rate_window: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 10.0
    """Seconds."""
    sensitive_rate_limit: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 20
    """Requests to the sensitive endpoints (catalogue, category) in the same window."""
    sku_lines_limit: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 2000
    """Lines of listings that one account may send in any `sku_lines_window`, single updates and bulk files together."""
    sku_lines_window: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 3600.0
    """Seconds."""
    bulk_part_lines: Annotated[int, Field(ge=1, le=14_999)] = 500
    """Lines of a part of a bulk file, at most; never more than `sku_lines_limit`."""
    bulk_settle_after: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 900.0
    """Seconds before a part whose answer was lost is read back."""
    bulk_unexplained_after: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 86400.0
    """Seconds that a task may run, or have a status that is not explained, before a person is to decide."""
    bulk_poll_initial_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 5.0
    """Seconds until a task is polled for the first time; the pauses grow from then on."""
    bulk_poll_max_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """Maximum seconds between two polls of a task in its first half hour."""
    bulk_poll_max_late_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 600.0
    """Maximum seconds between two polls of a task after its first half hour."""
    egress_id: str = "default"
    """Names the address that this process's requests leave from."""
    egress_rate_limit: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 0
    """Requests that one egress address may send in a window; 0: no limit of its own."""

    connect_timeout: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 5.0
    """Seconds to open a connection to the API."""
    request_deadline: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 30.0
    """Seconds that one request may take in all, its body included."""

    watermark_overlap: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 120.0
    """Seconds that an incremental walk reaches back before the one before it began."""
    lease_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """How long a claimed sync stays claimed without a sign of life."""
    task_budget_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 20.0
    """Seconds after which a sync hands the rest on to its next slice."""
    task_budget_pages: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 200
    """Pages after which a sync hands the rest on to its next slice."""
    fetch_window: Annotated[int, Field(ge=1, le=32)] = 16
    """Pages of one walk that may be in flight at once."""
    fetch_threads: Annotated[int, Field(ge=1, le=256)] = 32
    """Threads of one worker process that fetch pages, for all of its syncs together."""
    max_long_syncs: Annotated[int, Field(ge=1, le=256)] = 6
    """Maximum number of long syncs (more than one page) at once in a worker process; other threads serve short ones."""
    label_window: Annotated[int, Field(ge=1, le=32)] = 8
    """Labels of one organization that may be in flight at once."""
    label_give_up_days: Annotated[int, Field(ge=1, le=36500)] = 14
    """Days after which a label that does not come is given up."""

    write_window: Annotated[int, Field(ge=1, le=32)] = 8
    """Writes of one organization, each of another object, that may be sent at once."""
    order_update_sends_id: bool = True
    """Whether an update of an order has both `id` and `order_id`; False: `order_id` alone."""

    changes_retention_days: Annotated[int, Field(ge=0, le=36500)] = 30
    """Days that events of the change feed are kept; 0: for ever."""
    runs_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90
    """Days that rows of `sync_runs` are kept; 0: for ever."""
    writes_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90
    """Days that writes which came to their end are kept, with their invoices; 0: for ever."""
    bulk_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90
    """Days that bulk jobs which ended are kept, with their files and reports; 0: for ever."""
    personal_data_days: Annotated[int, Field(ge=0, le=36500)] = 0
    """Days after its last change that a closed order keeps its personal data; 0: for ever."""

    health_host: str = "127.0.0.1"
    """Address on which workers and beat serve their health and metrics."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port for health and metrics; 0: they are not served."""
    health_stall_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """Seconds without a heartbeat of the main loop before the process counts as hung."""
    traces_endpoint: str | None = None
    """Where a worker's traces go, by OTLP over HTTP; None: there are none."""
    console_users: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Who may log in to the console, with which role and password: as `backmarket console password` prints it."""
    console_password: SecretStr | None = None
    """Password of the user `admin`, an `operator`; None: there is no such user."""
    console_url: str | None = None
    """The origin at which people reach the console; None: this machine alone does."""
    console_session_key: SecretStr | None = None
    """Signs the console's sessions; None: made at its start, so that they end with it."""
    console_session_hours: Annotated[float, Field(gt=0, le=720)] = 12.0
    """Hours after which a person has to log in again."""
    console_proxy_addresses: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks of the proxies before the console, whose headers are believed."""
    console_proxy_user_header: Annotated[str, Field(pattern=HEADER_NAME)] = ""
    """Header in which the proxy passes the authenticated user. Empty: proxy login is off."""
    console_proxy_groups_header: Annotated[str, Field(pattern=HEADER_NAME)] = "X-Forwarded-Groups"
    """Header in which the proxy passes the user's groups, separated by commas."""
    console_proxy_operator_group: str = "backmarket-operator"
    """Group whose members have the role `operator`; all others are `viewer`s."""

    log_format: Annotated[str, Field(pattern="^(auto|json|console)$")] = "auto"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _refuse_renamed(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = {name.upper() for name in os.environ} | {f"{ENV_PREFIX}{name.upper()}" for name in values}
        old = [name for name in RENAMED if f"{ENV_PREFIX}{name.upper()}" in given]
        if old:
            raise SettingsError(" ".join(_renamed(name) for name in old))
        return values

    @field_validator(
        "secret_keys",
        "allowed_base_urls",
        "label_origins",
        "invoice_origins",
        "console_users",
        "console_proxy_addresses",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_base_urls", "label_origins", "invoice_origins")
    @classmethod
    def _origins_only(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin_of(url) for url in value)

    @field_validator("console_url")
    @classmethod
    def _one_origin(cls, value: str | None) -> str | None:
        return origin_of(value) if value else None

    @field_validator("console_proxy_addresses")
    @classmethod
    def _networks_only(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            found = tuple(ip_network(each) for each in value)
        except ValueError:
            raise ValueError("must be addresses or networks, such as 10.0.0.5 or 10.1.0.0/16") from None
        if any(each.prefixlen < MIN_PROXY_PREFIX[each.version] for each in found):
            raise ValueError(
                "must name your proxies alone: a network wider than 10.0.0.0/8 or fc00::/7 has strangers in it"
            )
        return tuple(map(str, found))

    @field_validator("health_port", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return 0 if value == "" else value

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _redis_only(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value:
            redis_urls.check(value.get_secret_value(), _REDIS[str(info.field_name)])
        return value

    @field_validator("database_url")
    @classmethod
    def _clear_only(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not urls.is_clear(value.get_secret_value()):
            raise ValueError(urls.UNCLEAR)
        return value

    @field_validator("user_agent")
    @classmethod
    def _user_agent_form(cls, value: str | None) -> str | None:
        return value if value is None else user_agent_of(value)

    @property
    def request_longest(self) -> float:
        """Seconds after which nothing of a request is sent any more: its deadline, where every wait of it ends."""
        return self.request_deadline

    @cached_property
    def process_name(self) -> str:
        """A name for leases that a person can find again: the host's name."""
        return socket.gethostname()

    def need(self, name: str) -> str:
        """The value of a setting that the present work can't do without.

        Args:
            name: the field's name, such as `database_url`.

        Raises:
            SettingsError: it is not set; the text names the variable.
        """
        value = getattr(self, name)
        if not value:
            raise SettingsError(f"Set {ENV_PREFIX}{name.upper()}: {_WHY.get(name, 'this needs it')}.")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    @property
    def broker(self) -> str:
        """The broker's URL: `BROKER_URL`, or `REDIS_URL` where that is not set."""
        url = self.need("broker_url" if self.broker_url else "redis_url")
        if url.startswith("unix:"):
            raise SettingsError(
                f"Set {ENV_PREFIX}BROKER_URL: where REDIS_URL is unix://path, it is redis+socket://path."
            )
        return url


_WHY = {
    "database_url": "the PostgreSQL database that holds everything, such as postgresql://user@host/backmarket",
    "redis_url": "the Redis or Valkey that carries messages and rate limits, such as redis://host:6379/0",
    "s3_endpoint_url": "the S3 server that holds the labels, such as https://minio.example:9000",
    "s3_access_key": "the name of the key for the S3 server",
    "s3_secret_key": "the secret of the key for the S3 server",
    "user_agent": "the API refuses callers without one; it looks like BM-Company-Integration;you@company.example",
    "limiter_key": "any long random text; it names accounts in the rate limiter, and must not change",
}


def _renamed(name: str) -> str:
    new = f"{ENV_PREFIX}{RENAMED[name].upper()}"
    return f"{ENV_PREFIX}{name.upper()} is {new} now. Set {new} instead."


def user_agent_of(text: str) -> str:
    """The text itself, if the API takes it for a User-Agent.

    Raises:
        ValueError: it does not.
    """
    if not re.fullmatch(r"BM-[^;\s-][^;\r\n]*-[^;\r\n]+;[^\s;]+@[^\s;]+", text):
        raise ValueError("must look like BM-{Company}-{Integration};contact@company.example")
    return text


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, lower-case, without a path.

    Raises:
        ValueError: it is not an http or https origin, or carries a path, a query or a user.
    """
    form = "it is not an origin such as https://host or http://host:port"
    try:
        parts = urlsplit(url.strip())
        port_number = parts.port
    except ValueError:
        raise ValueError(form) from None  # its own words quote what was given
    name = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or port_number == 0 or not _is_host(name):
        raise ValueError(form)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("an origin has no path, query, fragment or user: https://host or http://host:port")
    host = f"[{name}]" if ":" in name else name
    default = {"http": 80, "https": 443}[parts.scheme]
    port = f":{port_number}" if port_number not in {None, default} else ""
    return f"{parts.scheme}://{host}{port}"


def _is_host(name: str) -> bool:
    if ":" not in name:
        return HOST_NAME.fullmatch(name.removesuffix(".")) is not None
    try:
        return IPv6Address(name).scope_id is None
    except ValueError:
        return False


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: if a variable has a value that cannot be used, or an old name; every such variable is named.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(
            f"{ENV_PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False)
        )
        raise SettingsError(f"These settings cannot be used: {faults}.") from None
