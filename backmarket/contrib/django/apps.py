"""The application, as Django lists it."""

from __future__ import annotations

from django.apps import AppConfig


class BackMarketConfig(AppConfig):
    """The models of this package, with the label `backmarket`."""

    name = "backmarket.contrib.django"
    label = "backmarket"
    verbose_name = "Back Market"
