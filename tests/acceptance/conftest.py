"""Real processes connect with a login of their own, which may do what a worker has to do and no more."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from backmarket.settings import Settings
from tests.support.databases import as_process


@pytest.fixture
def settings(settings: Settings) -> Settings:
    url = as_process(settings.need("database_url"), "worker")
    return settings.model_copy(update={"database_url": SecretStr(url)})
