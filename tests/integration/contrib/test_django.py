"""The Django application: models, the organization of a transaction, the admin, and signals for the change feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import django
import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from psycopg.conninfo import conninfo_to_dict

from backmarket import Change
from backmarket.standalone.embedded import Stack
from tests.support.databases import as_superuser, open_connection
from tests.support.sellers import environment
from tests.support.settings import fresh_settings

LOGIN = "django_host"
ROWS = """
INSERT INTO backmarket.connections (organization_id, api_key, account, environment, region, locale)
VALUES (%(org)s, 'key', 'hash', 'sandbox', 'EU', 'fr-fr');
INSERT INTO backmarket.orders (organization_id, order_id, state, price, date_creation, raw, content)
VALUES (%(org)s, 1, 9, 199.5, '2026-01-02T03:04:05Z', '{"order_id": 1}', 1);
INSERT INTO backmarket.orderlines (organization_id, orderline_id, order_id, raw) VALUES (%(org)s, 1, 1, '{}');
INSERT INTO backmarket.listings (organization_id, listing_id, sku, raw, content)
VALUES (%(org)s, '00000000-0000-0000-0000-000000000001', 'SKU-1', '{}', 1);
INSERT INTO backmarket.listing_markets (organization_id, market, listing_id, price, raw, content)
VALUES (%(org)s, 'de-de', '00000000-0000-0000-0000-000000000001', 9.5, '{}', 1);
INSERT INTO backmarket.deliveries (organization_id, shipment_id, raw, content) VALUES (%(org)s, 1, '{}', 1);
INSERT INTO backmarket.returns (organization_id, shipment_id, raw, content) VALUES (%(org)s, 1, '{}', 1);
INSERT INTO backmarket.labels (organization_id, resource, shipment_id, url, state)
VALUES (%(org)s, 'deliveries', 1, '/label', 'wanted'), (%(org)s, 'returns', 1, '/label', 'wanted');
"""
EVENT = """
INSERT INTO backmarket.changes (organization_id, resource, external_id, kind, fields)
VALUES (%s, %s, %s, 'updated', '{state}')
"""


def organization_of(request: HttpRequest) -> str | None:
    """BACKMARKET_ORGANIZATION of these tests."""
    organization: str | None = request.headers.get("organization")
    return organization


def fail(request: HttpRequest) -> HttpResponse:
    """A view that writes, and fails."""
    tables().FeedCursor.objects.create(name="of the view", cursor="0:0")
    return HttpResponse(status=int(request.GET["status"]))


def tables() -> Any:
    from backmarket.contrib.django import models

    return models


urlpatterns: list[Any] = []


@pytest.fixture(scope="module")
def url(stack: Stack, shared_url: str) -> Iterator[str]:
    """A database with Django's tables, and two organizations `a` and `b`; Django's login is a reader."""
    with open_connection(as_superuser(shared_url), autocommit=True) as admin:
        admin.execute(
            f"CREATE ROLE {LOGIN} LOGIN; GRANT backmarket_reader TO {LOGIN};"
            f" GRANT CREATE, USAGE ON SCHEMA public TO {LOGIN}".encode()
        )
        for organization in ("a", "b"):
            for statement in ROWS.split(";\n")[:-1]:
                admin.execute(statement.encode(), {"org": organization})
    parts = conninfo_to_dict(shared_url)
    database = {"ENGINE": "django.db.backends.postgresql", "USER": LOGIN, "NAME": parts["dbname"]}
    django_settings.configure(
        DATABASES={"default": database | {"HOST": parts["host"], "PORT": parts["port"]}},
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "backmarket.contrib.django",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "backmarket.contrib.django.organization.OrganizationMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        ALLOWED_HOSTS=["testserver"],
        BACKMARKET_ORGANIZATION=f"{__name__}.organization_of",
        ROOT_URLCONF=__name__,
        SECRET_KEY="of these tests",
        USE_TZ=True,
    )
    django.setup()
    from django.contrib import admin as site
    from django.urls import path

    urlpatterns[:] = [path("admin/", site.site.urls), path("fail", fail)]
    call_command("migrate", verbosity=0)
    yield shared_url
    connections.close_all()
    with open_connection(as_superuser(shared_url), autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {LOGIN}; DROP ROLE {LOGIN}".encode())


@pytest.fixture
def models(url: str) -> Any:
    return tables()


@pytest.fixture
def see(models: Any) -> Callable[..., Any]:
    from backmarket.contrib.django.organization import organization

    return organization


@contextmanager
def receiving(receiver: Callable[[Any, Change], object], sender: Any = None) -> Iterator[None]:
    """A receiver of the signal, which gets sender and change."""
    from backmarket.contrib.django.signals import changed

    def receive(sender: Any, change: Change, **_: Any) -> None:
        receiver(sender, change)

    changed.connect(receive, sender=sender)
    try:
        yield
    finally:
        changed.disconnect(receive, sender=sender)


class TestModels:
    def test_they_have_the_columns_of_the_database(self, url: str, models: Any) -> None:
        there = """
            SELECT attname, format_type(atttypid, NULL), NOT attnotnull FROM pg_attribute
            WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
        """
        names = {"timestamptz": "timestamp with time zone", "numeric(38, 2)": "numeric", "xid8": "text"}
        with open_connection(as_superuser(url)) as admin:
            for model in models.TABLES:
                fields = {
                    (field.column, names.get(str(kind := field.db_type(connection)), kind), field.null)
                    for field in model._meta.local_fields
                    if field.column
                }
                columns = {
                    (name, names.get(kind, kind), null)
                    for name, kind, null in admin.execute(there, [model._meta.db_table])
                }
                assert fields == columns, model

    def test_rows_come_as_python_has_them(self, models: Any, see: Callable[..., Any]) -> None:
        with see("a"):
            order = models.Order.objects.get(pk=1)
            assert (str(order.price), order.raw) == ("199.5", {"order_id": 1})
            assert order.date_creation.isoformat() == "2026-01-02T03:04:05+00:00"
            assert models.Listing.objects.get(sku="SKU-1").pk == UUID(int=1)
            assert models.Label.objects.get(pk=("returns", 1)).state == "wanted"
            assert str(models.ListingMarket.objects.get(market="de-de").price) == "9.5"
            assert [model.objects.count() for model in models.TABLES] == [1, 1, 1, 1, 1, 1, 2, 0]

    def test_postgresql_refuses_a_write(self, models: Any, see: Callable[..., Any]) -> None:
        with pytest.raises(ProgrammingError, match="permission denied"), see("a"):
            models.Order.objects.update(state=1)

    def test_checks_pass_and_no_migration_is_missing(self, url: str) -> None:
        call_command("check", fail_level="WARNING")
        call_command("makemigrations", "--check", "--dry-run", verbosity=0)


class TestOrganization:
    def test_without_one_nothing_is_seen(self, models: Any, see: Callable[..., Any]) -> None:
        assert models.Order.objects.count() == 0
        with see("nobody"):
            assert models.Order.objects.count() == 0
        with see("a"):
            assert models.Order.objects.get().organization_id == "a"
        assert models.Order.objects.count() == 0

    def test_behind_an_inner_block_the_outer_one_holds(self, models: Any, see: Callable[..., Any]) -> None:
        with see("a"):
            with see("b"):
                assert models.Order.objects.get().organization_id == "b"
            assert models.Order.objects.get().organization_id == "a"
            with pytest.raises(ZeroDivisionError), see("b"):
                raise ZeroDivisionError
            assert models.Order.objects.get().organization_id == "a"

    def test_in_a_transaction_of_the_callers_it_ends_with_the_block(self, models: Any, see: Callable[..., Any]) -> None:
        with transaction.atomic():
            with see("a"):
                assert models.Order.objects.count() == 1
            assert models.Order.objects.count() == 0

    def test_a_request_is_one_transaction_which_a_server_error_rolls_back(self, models: Any) -> None:
        client = Client(headers={"organization": "a"})
        assert client.get("/fail", {"status": 500}).status_code == 500
        assert not models.FeedCursor.objects.exists()
        assert client.get("/fail", {"status": 400}).status_code == 400
        assert models.FeedCursor.objects.all().delete()[0] == 1

    def test_the_setting_must_be_there(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from backmarket.contrib.django.organization import OrganizationMiddleware

        monkeypatch.delattr(django_settings, "BACKMARKET_ORGANIZATION")
        with pytest.raises(ImproperlyConfigured, match="dotted path"):
            OrganizationMiddleware(lambda _: HttpResponse())


class TestAdmin:
    @pytest.fixture
    def client(self, url: str) -> Client:
        from django.contrib.auth.models import User

        user, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
        client = Client(headers={"organization": "a"})
        client.force_login(user)
        return client

    @pytest.mark.parametrize("model", ["order", "orderline", "listing", "delivery", "return", "change"])
    def test_it_lists_and_shows_the_rows_of_the_organization(self, client: Client, model: str) -> None:
        page = client.get(f"/admin/backmarket/{model}/")
        assert page.status_code == 200
        shown = page.context_data["cl"].result_list
        assert {row.organization_id for row in shown} == ({"a"} if model != "change" else set())
        for row in shown:
            one = client.get(f"/admin/backmarket/{model}/{row.pk}/change/")
            assert (one.status_code, b'name="_save"' in one.content) == (200, False)

    def test_it_changes_nothing(self, client: Client) -> None:
        assert client.get("/admin/backmarket/order/add/").status_code == 403
        assert client.post("/admin/backmarket/order/1/change/", {"state": 1}).status_code == 403
        assert client.post("/admin/backmarket/order/1/delete/", {"post": "yes"}).status_code == 403

    def test_another_permission_does_not_exist(self, url: str) -> None:
        from django.contrib.auth.models import Permission

        names = set(Permission.objects.filter(content_type__app_label="backmarket").values_list("codename", flat=True))
        assert {name for name in names if name.endswith("_order")} == {"view_order"}


class TestFollowing:
    @pytest.fixture(autouse=True)
    def _environment(self, url: str, models: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        for name, value in environment(fresh_settings(database_url=url)).items():
            monkeypatch.setenv(name, value)
        call_command("follow_backmarket", after="now", once=True)
        yield
        models.FeedCursor.objects.all().delete()

    @pytest.fixture
    def happen(self, url: str) -> Callable[..., None]:
        def happen(organization: str, resource: str, external_id: object) -> None:
            with open_connection(url) as database:
                database.execute(EVENT, (organization, resource, str(external_id)))

        return happen

    def test_each_event_is_a_signal_with_its_model_and_organization(
        self, models: Any, happen: Callable[..., None]
    ) -> None:
        happen("a", "orders", 1)
        happen("b", "listings", UUID(int=1))
        happen("b", "bulk_jobs", 5)
        came: list[tuple[Any, ...]] = []

        def receive(sender: Any, change: Change) -> None:
            row = sender.objects.get(pk=change.external_id) if sender else None
            came.append((sender, change.kind, row and row.organization_id))

        with receiving(receive):
            call_command("follow_backmarket", once=True)
            call_command("follow_backmarket", once=True)
        assert came == [(models.Order, "updated", "a"), (models.Listing, "updated", "b"), (None, "updated", None)]

    def test_a_receiver_that_fails_gets_the_event_again_and_what_it_wrote_is_undone(
        self, models: Any, happen: Callable[..., None]
    ) -> None:
        happen("a", "orders", 1)
        happen("a", "orders", 2)
        came: list[str] = []

        def receive(_: Any, change: Change) -> None:
            came.append(change.external_id)
            models.FeedCursor.objects.create(name=f"written {change.external_id}", cursor="")
            if came == ["1", "2"]:
                raise ZeroDivisionError

        with receiving(receive, models.Order):
            with pytest.raises(ZeroDivisionError):
                call_command("follow_backmarket", once=True)
            assert not models.FeedCursor.objects.filter(name="written 2").exists()
            call_command("follow_backmarket", once=True)
        assert came == ["1", "2", "2"]
        assert models.FeedCursor.objects.filter(name__startswith="written").count() == 2

    def test_two_processes_do_not_follow_by_one_name(self, models: Any, happen: Callable[..., None]) -> None:
        happen("a", "orders", 1)
        happen("a", "orders", 2)

        def another_follows(_: Any, change: Change) -> None:
            models.FeedCursor.objects.update(cursor="1:1")

        with (
            receiving(another_follows),
            pytest.raises(CommandError, match="Another process follows by the name 'default'"),
        ):
            call_command("follow_backmarket", once=True)

    def test_a_bad_cursor_is_refused_and_not_stored(self, models: Any) -> None:
        before = models.FeedCursor.objects.get().cursor
        with pytest.raises(CommandError, match="not a cursor"):
            call_command("follow_backmarket", after="never", once=True)
        assert models.FeedCursor.objects.get().cursor == before

    def test_the_first_start_begins_at_the_end_of_the_feed(self, models: Any, happen: Callable[..., None]) -> None:
        models.FeedCursor.objects.all().delete()
        happen("a", "orders", 1)
        came: list[Change] = []
        with receiving(lambda _, change: came.append(change)):
            call_command("follow_backmarket", once=True)
            assert not came
            happen("a", "orders", 2)
            call_command("follow_backmarket", once=True)
        assert [change.external_id for change in came] == ["2"]
