"""Fixtures for the tests of host applications: real servers, a sandbox, a connected seller.

A plugin of pytest that loads nothing unless the host's `conftest.py` names it:

    pytest_plugins = ["backmarket.testing"]

The fixtures are in `fixtures.py`; docs/testing.md has an example. It needs `backmarket[embedded]`.
"""

from __future__ import annotations

from backmarket.testing.seller import ConnectedSeller

__all__ = ["ConnectedSeller"]

pytest_plugins = ["backmarket.testing.fixtures"]
"""What pytest loads with this module, the fixtures' own fixtures included."""
