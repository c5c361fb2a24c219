"""Every setting with odd values: it is refused by its name, or everything that is made of it can be made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backmarket.errors import ENV_PREFIX, SettingsError
from backmarket.services import Services
from backmarket.settings import MAX_INTEGER, MAX_SECONDS, Settings, load_settings
from tests.support.examples import examples, some

RIGHT = {
    "database_url": "postgresql://user@host/name",
    "redis_url": "redis://host/0",
    "secret_keys": Fernet.generate_key().decode(),
    "limiter_key": "any-text",
    "user_agent": "BM-Company-Integration;contact@company.example",
}
ODD = (
    "", " ", "\n", "x", "é", "\udc80", "\x1b[31m", "0", "-1", "1.5", "1e400", "inf", "-inf", "nan", "1e300", "9" * 30,
    "9" * 5000, "true", "null", "[]", "{}", ",", "a,b,,c", "%s{0}", "x" * 100_000, "redis://", "redis://[::1", "redis://host:port",
    "redis://host:99999/x", "redis://host:0", "redis://h/abc", "unix:///x", "redis+socket:///x", "postgresql://[::1",
    "postgresql://h:port/x", "postgresql://\udc80/x", "http://", "http://[::1", "ftp://x", "http://h:99999", "http://h/path?x#y",
    "https://u:p@h",
)  # fmt: skip


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_odd_value_is_refused_by_name_or_can_be_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in some(ODD, [*Settings.model_fields].index(name)):
        check(name, odd, monkeypatch)


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(sorted(Settings.model_fields)), st.text(st.characters(exclude_characters="\0"), max_size=30))
@example("rate_window", "\u0661")
@example("allowed_base_urls", "BACKMARK")
def test_any_text(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    check(name, text, monkeypatch)


def check(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold a value to what is promised of every value."""
    with monkeypatch.context() as patch:
        for other, right in RIGHT.items():
            patch.setenv(f"{ENV_PREFIX}{other.upper()}", right)
        try:
            patch.setenv(f"{ENV_PREFIX}{name.upper()}", value)
        except UnicodeEncodeError:  # no environment can hold it
            return
        try:
            found = load_settings()
        except SettingsError as error:
            refused = error.message
            assert f"{ENV_PREFIX}{name.upper()}: " in refused
            if len(value) >= 8 and value in refused:
                patch.setenv(f"{ENV_PREFIX}{name.upper()}", "\x1b")
                assert value in (refusal(load_settings) or ""), "it is quoted, and not by chance among our own words"
            return
    given = getattr(found, name)
    assert not isinstance(given, float) or 0 <= given <= MAX_SECONDS
    assert not isinstance(given, int) or 0 <= given <= MAX_INTEGER
    services = Services(found)
    for make in (lambda: found.broker, lambda: services.key_cipher, lambda: services.limiter):
        assert ENV_PREFIX in (refusal(make) or ENV_PREFIX)
    services.close()


def refusal(make: Callable[[], object]) -> str | None:
    """Why something cannot be made of the settings; None: it can. No other error is right."""
    try:
        make()
    except SettingsError as error:
        return error.message
    return None
