"""Naming the organization whose rows a transaction sees (row-level security)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router, transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string


@contextmanager
def organization(organization_id: str) -> Iterator[None]:
    """See the rows of one organization, in a transaction that ends with the block.

        with organization("shop-1"):
            Order.objects.filter(state=1).count()

    Evaluate querysets within it. It may be nested: behind the inner block, the outer organization holds again.
    """
    alias = _alias()
    nested = connections[alias].in_atomic_block
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_setting('backmarket.organization_id', true)")
        (before,) = cursor.fetchone()
        cursor.execute(_NAME, [organization_id])
        yield
        if nested:  # the transaction goes on; an error has rolled the setting back
            cursor.execute(_NAME, [before or ""])


class OrganizationMiddleware:
    """Runs each request in the transaction of its organization.

    The setting `BACKMARKET_ORGANIZATION` is the dotted path of a function that takes the request, and returns the
    organization's id, or None for a request that reads no rows of ours. The application decides there who may see what.
    Put it behind the middleware that this function needs, such as Django's for sessions and authentication.

    Raises:
        ImproperlyConfigured: if the setting is missing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        path = getattr(settings, "BACKMARKET_ORGANIZATION", None)
        if path is None:
            raise ImproperlyConfigured(
                "BACKMARKET_ORGANIZATION is missing. Set it to the dotted path of a function that takes the request and"
                " returns the organization's id or None."
            )
        self._organization_of = import_string(path)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The response; one of 500 and more rolls the transaction back."""
        organization_id = self._organization_of(request)
        if organization_id is None:
            return self._get_response(request)
        with organization(organization_id):
            response = self._get_response(request)
            if response.status_code >= 500:
                transaction.set_rollback(True, using=_alias())
        return response


def _alias() -> Any:
    """The database of Django's that has the tables."""
    return router.db_for_read(apps.get_model("backmarket", "Order"))


_NAME = "SELECT set_config('backmarket.organization_id', %s, true)"
