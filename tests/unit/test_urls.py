"""No part of a password gets into a text: a URL in which it is not clear where the password ends is refused."""

from __future__ import annotations

import re

import pytest

from backmarket.database import Database
from backmarket.errors import ENV_PREFIX, BackMarketError, SettingsError
from backmarket.messages.urls import is_clear
from backmarket.producer import Producer
from backmarket.settings import load_settings

SECRETS = ("zqa@xkb", "zq@a@xkb", "zqa/xkb", "zqa?xkb", "zqa#xkb", "zqa/w@xkb", "@zqxk")
WITHOUT_A_HOST = "zqxk"
SCHEMES = {"DATABASE_URL": "postgresql", "REDIS_URL": "redis", "BROKER_URL": "rediss"}
PARTS = re.compile("zq|xk")


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_password_that_is_not_encoded_is_refused_and_not_quoted(
    name: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (f"{SCHEMES[name]}://user:{secret}@127.0.0.1:1/0", f"{SCHEMES[name]}://user:{WITHOUT_A_HOST}"):
        assert not is_clear(url)
        monkeypatch.setenv(f"{ENV_PREFIX}{name}", url)
        with pytest.raises(SettingsError, match=name) as refused:
            load_settings()
        assert not PARTS.search(str(refused.value).partition("percent-encoded")[0])
        with pytest.raises(BackMarketError) as refused_here:
            Database(url) if name == "DATABASE_URL" else Producer(url)
        assert not PARTS.search(str(refused_here.value).partition("percent-encoded")[0])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hush%40word@host:5432/name?sslmode=require", "postgresql://a:b@[::1]:5432,host2:5433/name",
        "postgresql:///name?host=/var/run", "redis://:pa:ss@host:6379/0", "redis://host", "unix:///run/redis.sock?db=1",
        "rediss://user:pw@host/0?ssl_ca_certs=/etc/ca.pem", "host=localhost dbname=x user=a@b", "redis+socket:///run/r.sock",
    ],
)  # fmt: skip
def test_other_urls_are_taken(url: str) -> None:
    assert is_clear(url)
