"""The settings, read once from the environment (prefix `BACKMARKET_`), typed, and refused early.

`.env.example` lists every one of them with a safe value.
"""

from __future__ import annotations

import os
import re
import socket
from functools import cached_property
from ipaddress import ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backmarket.errors import ENV_PREFIX, SettingsError
from backmarket.messages import redis_urls, urls
from backmarket.messages.urls import origin_of

MIN_AUDIT_DAYS = 30
"""Minimum days that the audit trail is kept; the database refuses to drop younger rows."""
HEADER_NAME = r"^[A-Za-z0-9-]{0,100}$"

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that an OpenID provider may have without https: this machine's."""
MIN_PROXY_PREFIX = {4: 8, 6: 7}
"""Shortest prefix of a network of proxies, by the version of IP: those of the widest private networks."""
MAX_INTEGER = 2**31 - 1
"""Maximum of an integer setting: PostgreSQL and Redis can calculate with it."""
MAX_SECONDS = 31_622_400.0
"""Maximum of a time setting, a year: dates can be calculated with it."""

_REDIS = {
    "redis_url": redis_urls.LIMITER_SCHEMES,
    "broker_url": redis_urls.BROKER_SCHEMES,
    "event_broker_url": redis_urls.BROKER_SCHEMES,
}

RENAMED = {
    "bulk_poll_first": "bulk_poll_initial_seconds",
    "bulk_poll_late": "bulk_poll_max_late_seconds",
    "bulk_poll_longest": "bulk_poll_max_seconds",
    "console_proxy_act_group": "console_proxy_operator_group",
    "health_patience": "health_stall_seconds",
    "walking_turns": "max_long_syncs",
}
"""Settings that have another name now: the old name is refused, in the environment and as a keyword."""

REMOVED = {
    "fetch_window": "the long syncs of a process share its BACKMARKET_FETCH_THREADS evenly",
    "console_session_key": "the console keeps its sessions in PostgreSQL, where they outlive its process",
}
"""Settings that are gone, and why: they are refused, too."""


class Settings(BaseSettings):
    """Every number and address that a deployment may choose.

    A missing or wrong setting raises `SettingsError` at the first use that needs it,
    with a sentence that names the variable to set.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr | None = None
    """PostgreSQL, as a libpq URL: `postgresql://user:password@host:5432/name`."""
    database_pool_size: Annotated[int, Field(ge=1, le=1000)] = 8
    """Maximum number of connections from one process to PostgreSQL."""
    redis_url: SecretStr | None = None
    """Redis or Valkey for the rate limits and, unless `BROKER_URL` is set, for messages."""
    broker_url: SecretStr | None = None
    """Redis or Valkey for messages, if not the one in `REDIS_URL`."""

    s3_endpoint_url: str | None = None
    s3_public_endpoint_url: str | None = None
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    s3_bucket: str = "backmarket"
    s3_region: Annotated[str, Field(min_length=1)] = "us-east-1"
    s3_virtual_host: bool = False

    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Fernet keys that encrypt the API keys; the first encrypts, all decrypt."""
    limiter_key: SecretStr | None = None
    """Long random text from which the rate limiter derives the names of accounts. Never change it."""
    user_agent: str | None = None
    """User-Agent that the API demands: `BM-{Company}-{Integration};contact@company.example`."""
    allowed_base_urls: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins beside Back Market's own that a connection may name."""
    label_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins beside Back Market's own, and the connection's, that workers may fetch labels from."""
    label_max_bytes: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 20 * 1024 * 1024
    """Maximum size of a label, in bytes."""
    invoice_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins that workers may fetch invoices from; without one, an invoice must be a file."""
    invoice_max_bytes: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 10 * 1024 * 1024
    """Maximum size of an invoice, in bytes."""

    rate_limit: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 200
    """Maximum number of requests of one seller account in a window."""
    rate_window: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 10.0
    """Length of that window, in seconds."""
    sensitive_rate_limit: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 20
    """Maximum number of requests to the sensitive endpoints (catalogue, category) in the same window."""
    sku_lines_limit: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 2000
    """Maximum number of listing lines of one account in a window, single updates and bulk files together."""
    sku_lines_window: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 3600.0
    """Length of that window, in seconds."""
    bulk_part_lines: Annotated[int, Field(ge=1, le=14_999)] = 500
    """Maximum number of lines in a part of a bulk file; never more than `sku_lines_limit`."""
    bulk_settle_after: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 900.0
    """Seconds until a worker reads back a bulk part whose answer was lost."""
    bulk_unexplained_after: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 86400.0
    """Seconds that a bulk task may run, or report an undocumented status, before a person has to decide."""
    bulk_poll_initial_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 5.0
    """Seconds until the first poll of a bulk task."""
    bulk_poll_max_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """Maximum seconds between two polls of a task in its first half hour."""
    bulk_poll_max_late_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 600.0
    """Maximum seconds between two polls of a task after its first half hour."""
    egress_id: str = "default"
    """Name of the address that this host's requests leave from."""
    egress_rate_limit: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 0
    """Maximum number of requests from that address in `rate_window`; 0: no limit of its own."""

    connect_timeout: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 5.0
    """Maximum seconds to open a connection to the API."""
    request_deadline: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 30.0
    """Maximum seconds for one request, its body included."""

    watermark_overlap: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 120.0
    """Seconds by which an incremental sync reaches back before the start of the previous one."""
    lease_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """Seconds without a renewal after which another worker may take over a claimed sync."""
    task_budget_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 20.0
    """Maximum seconds of one slice of a sync; the next slice continues."""
    task_budget_pages: Annotated[int, Field(ge=2, le=MAX_INTEGER)] = 200
    """Maximum number of pages in one slice of a sync; the next slice continues."""
    fetch_threads: Annotated[int, Field(ge=1, le=256)] = 32
    """Maximum number of pages in flight at once in one worker process; its long syncs share them evenly."""
    max_long_syncs: Annotated[int, Field(ge=1, le=256)] = 6
    """Maximum number of long syncs (more than 8 pages) at once in a worker process; other threads serve short ones."""
    label_window: Annotated[int, Field(ge=1, le=32)] = 8
    """Maximum number of labels of one organization in flight at once."""
    label_give_up_days: Annotated[int, Field(ge=1, le=36500)] = 14
    """Days after which workers give up a label that they cannot fetch."""

    write_window: Annotated[int, Field(ge=1, le=32)] = 8
    """Maximum number of writes of one organization in flight at once, each to another object."""
    order_update_sends_id: bool = True
    """Whether an order update contains `id` beside `order_id`."""

    event_task: Annotated[str, Field(max_length=200)] = ""
    """Name of the host application's Celery task that gets each event; empty: none."""
    event_queue: Annotated[str, Field(min_length=1, max_length=200)] = "celery"
    """Name of the queue of that task."""
    event_broker_url: SecretStr | None = None
    """Redis or Valkey of that queue, if not the workers' own broker."""
    event_private_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins of webhooks that may have an address that is not public, and http."""
    event_deadline: Annotated[float, Field(gt=0, le=600)] = 15.0
    """Maximum seconds for a call of a webhook."""
    event_threads: Annotated[int, Field(ge=1, le=1000)] = 128
    """Number of threads that call webhooks in one worker process."""
    event_give_up_days: Annotated[float, Field(gt=0, le=365)] = 3.0
    """Days after which an event that fails is given up, and an endpoint without any success is disabled."""
    event_attempts_retention_days: Annotated[int, Field(ge=0, le=36500)] = 30
    """Days that the log of webhooks is kept. 0: for ever."""

    changes_retention_days: Annotated[int, Field(ge=0, le=36500)] = 30
    """Days that events of the change feed are kept. 0: for ever."""
    runs_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90
    """Days that ended sync runs are kept. 0: for ever."""
    writes_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90
    """Days that ended writes are kept, with their invoices. 0: for ever."""
    bulk_retention_days: Annotated[int, Field(ge=0, le=36500)] = 90
    """Days that ended bulk jobs are kept, with their files and reports. 0: for ever."""
    audit_retention_days: Annotated[int, Field(ge=0, le=36500)] = 365
    """Days that the audit trail is kept, 30 or more. 0: for ever."""
    personal_data_days: Annotated[int, Field(ge=0, le=36500)] = 0
    """Days that a closed order keeps its personal data after its last change. 0: for ever."""

    health_host: str = "127.0.0.1"
    """Address on which workers and beat serve their health and metrics."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port for health and metrics; 0: they are not served."""
    health_stall_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """Seconds without a heartbeat of the main loop before a process counts as hung."""
    traces_endpoint: str | None = None
    """URL that workers send traces to, by OTLP over HTTP; None: no traces."""
    figures_time_zone: Annotated[str, Field(min_length=1, max_length=60)] = "UTC"
    """Time zone whose days figures are counted by, such as `Europe/Paris`."""
    console_users: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Users of the console, each as `backmarket console password` prints it: name, role and password."""
    console_password: SecretStr | None = None
    """Password of the user `admin`, an `operator`; None: this user does not exist."""
    console_url: str | None = None
    """Origin of the console in the browser; None: only this machine reaches it."""
    console_session_hours: Annotated[float, Field(gt=0, le=720)] = 12.0
    """Hours after which a person has to log in again."""
    console_session_idle_minutes: Annotated[float, Field(gt=0, le=43_200)] = 60.0
    """Minutes without use after which a person has to log in again; what an open page refreshes by itself is no use.

    The default is that of NIST SP 800-63B-4 at its level AAL2.
    """
    console_proxy_addresses: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks of the proxies in front of the console; headers from others are ignored."""
    console_proxy_user_header: Annotated[str, Field(pattern=HEADER_NAME)] = ""
    """Header in which the proxy passes the authenticated user. Empty: proxy login is off."""
    console_proxy_groups_header: Annotated[str, Field(pattern=HEADER_NAME)] = "X-Forwarded-Groups"
    """Header in which the proxy passes the user's groups, separated by commas."""
    console_proxy_operator_group: str = "backmarket-operator"
    """Group whose members have the role `operator`; all others are `viewer`s."""
    console_oidc_issuer: str | None = None
    """URL of the OpenID provider at which people log in to the console; None: there is no such login."""
    console_oidc_name: str = ""
    """Name of the provider on the login page. Empty: its host."""
    console_oidc_client_id: str = ""
    """Id of the console at the provider."""
    console_oidc_client_secret: SecretStr | None = None
    """Secret of the console at the provider."""
    console_oidc_scope: Annotated[str, Field(pattern=r"^(.* )?openid( .*)?$")] = "openid profile email"
    """Scopes that are asked for, separated by spaces."""
    console_oidc_user_claim: Annotated[str, Field(min_length=1)] = "preferred_username"
    """Claim of the ID token that names the person."""
    console_oidc_groups_claim: Annotated[str, Field(min_length=1)] = "groups"
    """Claim of the ID token that lists the person's groups."""
    console_oidc_operator_groups: Annotated[tuple[str, ...], NoDecode] = ()
    """Groups of the provider whose members have the role `operator`."""
    console_oidc_viewer_groups: Annotated[tuple[str, ...], NoDecode] = ()
    """Groups of the provider whose members have the role `viewer`. A person in no group of these two is refused."""

    log_format: Annotated[str, Field(pattern="^(auto|json|console)$")] = "auto"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _refuse_renamed(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = {name.upper() for name in os.environ} | {f"{ENV_PREFIX}{name.upper()}" for name in values}
        old = [name for name in (*RENAMED, *REMOVED) if f"{ENV_PREFIX}{name.upper()}" in given]
        if old:
            raise SettingsError(" ".join(_renamed(name) for name in old))
        return values

    @field_validator(
        "secret_keys",
        "allowed_base_urls",
        "label_origins",
        "invoice_origins",
        "event_private_origins",
        "console_users",
        "console_proxy_addresses",
        "console_oidc_operator_groups",
        "console_oidc_viewer_groups",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_base_urls", "label_origins", "invoice_origins", "event_private_origins")
    @classmethod
    def _origins_only(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin_of(url) for url in value)

    @field_validator("console_url")
    @classmethod
    def _one_origin(cls, value: str | None) -> str | None:
        return origin_of(value) if value else None

    @field_validator("console_oidc_issuer")
    @classmethod
    def _https_issuer(cls, value: str | None) -> str | None:
        if not value:
            return None
        found = urlsplit(value)
        if not found.hostname or found.username or found.query or found.fragment:
            raise ValueError("must be the URL of an issuer, such as https://login.example/realms/staff")
        if found.scheme != "https" and not (found.scheme == "http" and found.hostname in LOOPBACK_NAMES):
            raise ValueError("must be https: plain http would let others say who logs in")
        return value

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

    @field_validator("audit_retention_days")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if 0 < value < MIN_AUDIT_DAYS:
            raise ValueError(f"must be 0 or at least {MIN_AUDIT_DAYS}")
        return value

    @field_validator("figures_time_zone")
    @classmethod
    def _zones_only(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (LookupError, ValueError, OSError):
            raise ValueError("must be a time zone, such as Europe/Paris or UTC") from None

    @field_validator("health_port", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return 0 if value == "" else value

    @field_validator("redis_url", "broker_url", "event_broker_url")
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
        """Seconds after which no byte of a request is sent any more: its deadline ends every wait."""
        return self.request_deadline

    @cached_property
    def process_name(self) -> str:
        """Name of this process in leases, from which a person finds the machine: the host's name."""
        return socket.gethostname()

    def need(self, name: str) -> str:
        """The value of a setting that the caller needs.

        Args:
            name: the field's name, such as `database_url`.

        Raises:
            SettingsError: if it is not set; the text names the variable.
        """
        value = getattr(self, name)
        if not value:
            raise SettingsError(f"Set {ENV_PREFIX}{name.upper()}: {_WHY.get(name, 'this needs it')}.")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    @property
    def has_bucket(self) -> bool:
        """Whether there is an S3 server: without one, labels are not fetched, and files and invoices are refused."""
        return bool(self.s3_endpoint_url)

    @property
    def broker(self) -> str:
        """The broker's URL: `BROKER_URL`, or `REDIS_URL` where that is not set."""
        url = self.need("broker_url" if self.broker_url else "redis_url")
        if url.startswith("unix:"):
            raise SettingsError(
                f"Set {ENV_PREFIX}BROKER_URL: where REDIS_URL is unix://path, it is redis+socket://path."
            )
        return url

    @property
    def event_broker(self) -> str:
        """The URL of the broker of the host application's task."""
        return self.event_broker_url.get_secret_value() if self.event_broker_url else self.broker


_WHY = {
    "database_url": "the PostgreSQL database that holds everything, such as postgresql://user@host/backmarket",
    "redis_url": "the Redis or Valkey that carries messages and rate limits, such as redis://host:6379/0",
    "s3_endpoint_url": "the S3 server for labels, invoices and bulk files, such as https://minio.example:9000",
    "s3_access_key": "the name of the key for the S3 server",
    "s3_secret_key": "the secret of the key for the S3 server",
    "user_agent": "the API refuses callers without one; it looks like BM-Company-Integration;you@company.example",
    "limiter_key": "any long random text; it names accounts in the rate limiter, and must not change",
}


def _renamed(name: str) -> str:
    if name in REMOVED:
        return f"{ENV_PREFIX}{name.upper()} is gone: {REMOVED[name]}. Remove it."
    new = f"{ENV_PREFIX}{RENAMED[name].upper()}"
    return f"{ENV_PREFIX}{name.upper()} is {new} now. Set {new} instead."


def user_agent_of(text: str) -> str:
    """The text itself, if the API accepts it as a User-Agent.

    Raises:
        ValueError: if the API would refuse it.
    """
    if not re.fullmatch(r"BM-[^;\s-][^;\r\n]*-[^;\r\n]+;[^\s;]+@[^\s;]+", text):
        raise ValueError("must look like BM-{Company}-{Integration};contact@company.example")
    return text


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
