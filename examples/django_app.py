"""A Django project: a seller's orders by `BackMarket`, figures by Django's models, and a signal for each change.

    python examples/django_app.py migrate
    python examples/django_app.py 8000
    gunicorn --chdir examples --preload django_app:application
    python examples/django_app.py follow_backmarket

Takes the `BACKMARKET_*` settings from the environment, and `SHOP_DATABASE_URL`: the same database, with a login of the
application's own that is a member of `backmarket_reader` (GRANT backmarket_reader TO shop) and may make Django's tables
(CREATE SCHEMA shop AUTHORIZATION shop). For the webhook also `SHOP_WEBHOOK_SECRET`, which `backmarket events add`
prints.
"""

from __future__ import annotations

import os
import sys
from socketserver import ForkingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.db.models import Count, Sum
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from psycopg.conninfo import conninfo_to_dict
from standardwebhooks import Webhook, WebhookVerificationError

from backmarket import BackMarket, BackMarketError, Change
from backmarket.contrib.django.organization import organization
from backmarket.contrib.django.signals import changed
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


@require_GET
def orders(request: HttpRequest, organization_id: str) -> JsonResponse:
    """A page of orders, newest first."""
    page = backmarket().get_orders(organization_id, cursor=request.GET.get("cursor"))
    found = [{"order_id": each.order_id, "state": each.state, "price": each.price} for each in page]
    return JsonResponse({"orders": found, "next_cursor": page.next_cursor})


@require_GET
def turnover(request: HttpRequest, organization_id: str) -> JsonResponse:
    """What `BackMarket` has no function for: a query of your own, without a filter that could be forgotten."""
    with organization(organization_id):
        orders = apps.get_model("backmarket", "Order").objects.values("currency")
        rows = list(orders.annotate(orders=Count("pk"), sum=Sum("price")))
    return JsonResponse({row.pop("currency"): row for row in rows})


@receiver(changed)
def tell(change: Change, **_: Any) -> None:
    """What `follow_backmarket` sends; reads and writes here are in the transaction that stores the feed's cursor."""
    print(change.organization_id, change.resource, change.external_id, change.kind, flush=True)


@csrf_exempt  # a signature is what proves the sender
@require_POST
def hook(request: HttpRequest) -> HttpResponse:
    """What `backmarket events add https://.../hooks/backmarket` has called at each event.

    A call may come again, after newer ones: keep its id where your work is, in one transaction.
    """
    try:
        event = Webhook(os.environ["SHOP_WEBHOOK_SECRET"]).verify(request.body, dict(request.headers))["data"]
    except WebhookVerificationError:
        return HttpResponse(status=401)
    print("called", event["id"], event["organization_id"], event["resource"], event["external_id"], event["kind"])
    return HttpResponse(status=204)


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
    path("hooks/backmarket", hook),
]


def database() -> dict[str, Any]:
    """Django's own connection, which is not `BackMarket`'s."""
    parts = conninfo_to_dict(os.environ["SHOP_DATABASE_URL"])
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    return {"ENGINE": "django.db.backends.postgresql"} | {names[key]: value for key, value in parts.items()}


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    DATABASES={"default": database()},
    INSTALLED_APPS=["backmarket.contrib.django", f"{__name__}.Sellers"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SHOP_SECRET_KEY", "of this example alone"),
)
application = get_wsgi_application()


class ForkingServer(ForkingMixIn, WSGIServer):
    """Answers every request in a child, as gunicorn's workers are children of a process that loaded everything."""


if __name__ == "__main__":
    if not sys.argv[1].isdigit():
        execute_from_command_line(sys.argv)
        sys.exit()
    with make_server("127.0.0.1", int(sys.argv[1]), application, ForkingServer) as server:
        server.serve_forever()
