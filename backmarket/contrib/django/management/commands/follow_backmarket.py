"""`manage.py follow_backmarket`: sends Django's signals for the events of the change feed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router, transaction

from backmarket import BackMarket, BackMarketError, Change
from backmarket.contrib.django.models import RESOURCES, FeedCursor
from backmarket.contrib.django.organization import organization
from backmarket.contrib.django.signals import changed


class Command(BaseCommand):
    """Follows the feed from the stored cursor on; takes the `BACKMARKET_*` settings from the environment."""

    help = (
        "Send the signal `changed` for each event of Back Market's change feed, at least once, from a stored cursor on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The options."""
        parser.add_argument("--name", default="default", help="Name of the stored cursor; one process follows by it.")
        parser.add_argument("--after", help="Store this cursor first; `now`: the end of the feed.")
        parser.add_argument("--once", action="store_true", help="End when there are no more events.")

    def handle(self, *, name: str, after: str | None, once: bool, **_: Any) -> None:
        """Follow until it is ended. The first start begins at the end of the feed.

        Raises:
            CommandError: if the feed cannot be read from this cursor on, or another process follows by this name.
        """
        try:
            with BackMarket() as bm:
                if after is not None:
                    end = bm.changes(after, limit=1).next_cursor
                    begin = {"cursor": end if after == "now" else after}
                    FeedCursor.objects.update_or_create(name=name, defaults=begin)
                position, _ = FeedCursor.objects.get_or_create(name=name, defaults={"cursor": bm.changes_cursor})
                for change in bm.watch(position.cursor, timeout=0 if once else None):
                    self._send(position, change)
        except BackMarketError as error:
            raise CommandError(str(error)) from error

    def _send(self, position: FeedCursor, change: Change) -> None:
        """Send one event, and store its cursor, in one transaction."""
        with transaction.atomic(using=router.db_for_write(FeedCursor)), organization(change.organization_id):
            here = FeedCursor.objects.filter(name=position.name, cursor=position.cursor)
            if not here.update(cursor=change.cursor):
                raise CommandError(
                    f"Another process follows by the name {position.name!r}. End it, or give this one a --name."
                )
            changed.send(sender=RESOURCES.get(change.resource), change=change)
        position.cursor = change.cursor
