"""Loads the fixtures of `backmarket.testing`; pytest takes `pytest_plugins` in the topmost conftest.py alone."""

pytest_plugins = ["backmarket.testing"]
