"""The fixtures of `backmarket.testing`, on the servers that all tests share."""

from __future__ import annotations

import pytest

from backmarket.standalone.embedded import Stack
from backmarket.testing.fixtures import (  # noqa: F401 - the names are the fixtures
    _backmarket_sandbox,
    _backmarket_template,
    backmarket_settings,
    connected_seller,
    sandbox,
)


@pytest.fixture(scope="session")
def backmarket_stack(stack: Stack) -> Stack:
    return stack
