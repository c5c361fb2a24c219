"""Settings are refused early, with a sentence that names the variable and never shows what it holds."""

import pytest

from backmarket.errors import ENV_PREFIX, SettingsError
from backmarket.messages.urls import origin_of
from backmarket.settings import REMOVED, RENAMED, Settings, load_settings

SECRET = "a-password-that-nobody-may-see"

REFUSED = [
    ("DATABASE_POOL_SIZE", "0"),
    ("DATABASE_POOL_SIZE", "1001"),
    ("BROKER_URL", f"amqp://user:{SECRET}@host"),
    ("RATE_LIMIT", "0"),
    ("RATE_LIMIT", "1.5"),
    ("RATE_LIMIT", SECRET),
    ("RATE_WINDOW", "0"),
    ("RATE_WINDOW", "-1"),
    ("RATE_WINDOW", ""),
    ("SENSITIVE_RATE_LIMIT", "0"),
    ("EGRESS_RATE_LIMIT", "-1"),
    ("CONNECT_TIMEOUT", "0"),
    ("REQUEST_DEADLINE", "nan"),
    ("WATERMARK_OVERLAP", "-1"),
    ("LEASE_SECONDS", "0"),
    ("TASK_BUDGET_SECONDS", "0"),
    ("TASK_BUDGET_PAGES", "1"),
    ("FETCH_THREADS", "257"),
    ("LOG_FORMAT", SECRET),
    ("LOG_LEVEL", "debug"),
    ("USER_AGENT", SECRET),
    ("ALLOWED_BASE_URLS", f"https://user:{SECRET}@host"),
    ("ALLOWED_BASE_URLS", f"https://host/{SECRET}"),
    ("ALLOWED_BASE_URLS", f"https://good.example, {SECRET}"),
    ("LABEL_ORIGINS", "https://*.example"),
    ("LABEL_ORIGINS", "*"),
    ("LABEL_ORIGINS", f"https://cdn.example/{SECRET}"),
    ("LABEL_MAX_BYTES", "0"),
    ("INVOICE_ORIGINS", "https://good.example, https://*.example"),
    ("INVOICE_MAX_BYTES", "0"),
]

SECRETS = {
    "database_url": f"postgresql://user:{SECRET}@host/name",
    "redis_url": f"redis://:{SECRET}@host/0",
    "broker_url": f"redis://:{SECRET}@host/1",
    "s3_access_key": SECRET,
    "s3_secret_key": SECRET,
    "secret_keys": f"{SECRET},{SECRET}-older",
    "limiter_key": SECRET,
}

AGENT = "BM-Company-Integration;contact@company.example"


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_wrong_value_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"{ENV_PREFIX}{name}: " in caught.value.message
    assert SECRET not in str(caught.value) + repr(caught.value)
    assert caught.value.__suppress_context__


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RATE_LIMIT", "LEASE_SECONDS"):
        monkeypatch.setenv(f"{ENV_PREFIX}{name}", "0")
    with pytest.raises(SettingsError, match=r"RATE_LIMIT: .*; .*LEASE_SECONDS: "):
        load_settings()


@pytest.mark.parametrize("name", RENAMED)
def test_an_old_name_is_refused_and_the_new_one_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (f"{ENV_PREFIX}{each.upper()}" for each in (name, RENAMED[name]))
    refusal = rf"^{old} is {new} now\. Set {new} instead\.$"
    with pytest.raises(SettingsError, match=refusal):
        Settings.model_validate({name: SECRET})
    monkeypatch.setenv(old, SECRET)
    with pytest.raises(SettingsError, match=refusal):
        load_settings()


@pytest.mark.parametrize("name", REMOVED)
def test_a_setting_that_is_gone_is_refused_with_the_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", SECRET)
    with pytest.raises(SettingsError, match=f"{name.upper()} is gone: .* Remove it") as refused:
        load_settings()
    assert SECRET not in str(refused.value)
    assert name not in Settings.model_fields


def test_a_setting_is_renamed_to_one_that_is_there() -> None:
    assert set(RENAMED.values()) <= set(Settings.model_fields)
    assert not RENAMED.keys() & Settings.model_fields.keys()


@pytest.mark.parametrize("name", ["database_url", "redis_url", "user_agent", "limiter_key", "s3_endpoint_url"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_needed_and_missing_is_named(name: str, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None and name != "user_agent":
        monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", value)
    with pytest.raises(SettingsError, match=rf"^Set {ENV_PREFIX}{name.upper()}: .+\.$"):
        load_settings().need(name)


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_masked_and_readable_where_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", SECRETS[name])
    settings = load_settings()
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
    if name != "secret_keys":
        assert settings.need(name) == SECRETS[name]


def test_a_comma_list_is_read_leniently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}SECRET_KEYS", " one, two ,,three, ")
    monkeypatch.setenv(f"{ENV_PREFIX}ALLOWED_BASE_URLS", "HTTPS://Host.Example/, http://localhost:8080")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.secret_keys] == ["one", "two", "three"]
    assert settings.allowed_base_urls == ("https://host.example", "http://localhost:8080")


@pytest.mark.parametrize("value", ["", " ", ","])
def test_an_empty_list_is_empty(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}SECRET_KEYS", value)
    monkeypatch.setenv(f"{ENV_PREFIX}ALLOWED_BASE_URLS", value)
    settings = load_settings()
    assert (settings.secret_keys, settings.allowed_base_urls) == ((), ())


@pytest.mark.parametrize(
    "agent", [AGENT, "BM-My Company-My Integration 2.0;a@b", "BM-A-B-C;a@b.example", "BM-Société-Été;a@b"]
)
def test_a_user_agent_of_the_documented_form(agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}USER_AGENT", agent)
    assert load_settings().need("user_agent") == agent


@pytest.mark.parametrize(
    "agent",
    [
        "python-httpx/0.28",
        "BM-Company;contact@company.example",
        "BM--Integration;contact@company.example",
        "BM-Company-;contact@company.example",
        "BM-Company-Integration",
        "BM-Company-Integration;",
        "BM-Company-Integration;nobody",
        "bm-Company-Integration;contact@company.example",
        f" {AGENT}",
        f"{AGENT}\n",
        f"{AGENT};more@company.example",
        "BM-Company-Integ\r\nX-Injected: 1;contact@company.example",
    ],
)
def test_any_other_user_agent_is_refused(agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}USER_AGENT", agent)
    with pytest.raises(SettingsError, match=r"USER_AGENT: .*BM-\{Company\}-\{Integration\};contact@company\.example"):
        load_settings()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://www.backmarket.fr", "https://www.backmarket.fr"),
        ("https://www.backmarket.fr/", "https://www.backmarket.fr"),
        (" HTTPS://WWW.BackMarket.FR ", "https://www.backmarket.fr"),
        ("https://host:443", "https://host"),
        ("http://host:80", "http://host"),
        ("https://host:80", "https://host:80"),
        ("http://host:8080/", "http://host:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin(url: str, origin: str) -> None:
    assert origin_of(url) == origin
    assert origin_of(origin) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host:8080",
        "//host",
        "https://",
        "https:///path",
        "ftp://host",
        "file:///etc/passwd",
        "https://host/path",
        "https://host?query",
        "https://host#fragment",
        "https://user@host",
        "https://user:password@host",
        "https://@host",
        "https://host:port",
        "https://host:99999",
        "https://host:0",
        "https://*.host",
        "https://a..host",
        "https://host..",
        "https://-host",
        "https://[fe80::1%eth0]",
        "https://[::g]",
        "https://[::1",
    ],
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"origin|Port|IPv6"):
        origin_of(url)


def test_the_broker_is_the_redis_unless_it_has_its_own() -> None:
    assert Settings(redis_url="redis://one").broker == "redis://one"
    assert Settings(redis_url="redis://one", broker_url="redis://two").broker == "redis://two"
    with pytest.raises(SettingsError, match=f"^Set {ENV_PREFIX}REDIS_URL: "):
        _ = Settings().broker


def test_a_request_is_over_at_its_deadline() -> None:
    assert Settings(request_deadline=0.3).request_longest == 0.3
