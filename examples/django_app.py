"""A Django project in one file: a seller's orders by `BackMarket`, and figures by SQL of your own.

    python examples/django_app.py 8000
    gunicorn --chdir examples --preload django_app:application

Takes the `BACKMARKET_*` settings from the environment, and `SHOP_DATABASE_URL`: the same database, with a login of the
application's own that is a member of `backmarket_reader` (GRANT backmarket_reader TO shop).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ForkingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from psycopg.conninfo import conninfo_to_dict

from backmarket import BackMarket, BackMarketError
from backmarket.errors import ConnectionNotFound


class Sellers(AppConfig):
    """Makes `BackMarket` once for each process.

    It opens nothing before its first use, and a forked child opens its own connections: it may be made before the
    server forks, and is made there in time.
    """

    name = __name__
    label = "sellers"

    def ready(self) -> None:
        """Django has read its settings."""
        self.backmarket = BackMarket()


def backmarket() -> BackMarket:
    """The process's own, for a view."""
    sellers: Sellers = apps.get_app_config("sellers")
    return sellers.backmarket


@contextmanager
def one_organization(organization_id: str) -> Iterator[Any]:
    """A cursor that sees the rows of one organization, until the end of the transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('backmarket.organization_id', %s, true)", [organization_id])
        yield cursor


@require_GET
def orders(request: HttpRequest, organization_id: str) -> JsonResponse:
    """A page of orders, newest first."""
    page = backmarket().get_orders(organization_id, cursor=request.GET.get("cursor"))
    found = [{"order_id": each.order_id, "state": each.state, "price": each.price} for each in page]
    return JsonResponse({"orders": found, "next_cursor": page.next_cursor})


@require_GET
def turnover(request: HttpRequest, organization_id: str) -> JsonResponse:
    """What `BackMarket` has no function for: SQL of your own, without a WHERE that could be forgotten."""
    with one_organization(organization_id) as cursor:
        cursor.execute("SELECT currency, count(*), sum(price) FROM backmarket.orders GROUP BY currency")
        rows = cursor.fetchall()
    return JsonResponse({currency: {"orders": count, "sum": total} for currency, count, total in rows})


@csrf_exempt  # an API of servers; behind a form of yours, leave the protection on
@require_POST
def sync(request: HttpRequest, organization_id: str) -> JsonResponse:
    """Ask for a sync and return: a worker does it."""
    try:
        handle = backmarket().sync_orders(organization_id)
    except BackMarketError as error:  # its words never hold a key or a customer's data
        status = 404 if isinstance(error, ConnectionNotFound) else 409
        return JsonResponse({"code": error.code, "error": str(error)}, status=status)
    return JsonResponse({"request": handle.number, "nudged": handle.nudged}, status=202)


urlpatterns = [
    path("sellers/<str:organization_id>/orders", orders),
    path("sellers/<str:organization_id>/turnover", turnover),
    path("sellers/<str:organization_id>/sync", sync),
]


def database() -> dict[str, Any]:
    """Django's own connection, which is not `BackMarket`'s."""
    parts = conninfo_to_dict(os.environ["SHOP_DATABASE_URL"])
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    return {"ENGINE": "django.db.backends.postgresql"} | {names[key]: value for key, value in parts.items()}


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    DATABASES={"default": database()},
    INSTALLED_APPS=[f"{__name__}.Sellers"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SHOP_SECRET_KEY", "of this example alone"),
)
application = get_wsgi_application()


class ForkingServer(ForkingMixIn, WSGIServer):
    """Answers every request in a child, as gunicorn's workers are children of a process that loaded everything."""


if __name__ == "__main__":
    with make_server("127.0.0.1", int(sys.argv[1]), application, ForkingServer) as server:
        server.serve_forever()
