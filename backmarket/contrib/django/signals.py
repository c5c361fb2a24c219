"""The signal for each event of the change feed, which `manage.py follow_backmarket` sends."""

from __future__ import annotations

from django.dispatch import Signal

changed = Signal()
"""A row was created, updated or removed; at least once for each event, in the order of the feed.

    @receiver(changed, sender=Order)
    def on_order(change, **_):
        order = Order.objects.get(pk=change.external_id)

Its sender is the row's model; None for events of other things, such as bulk jobs. `change` is a `backmarket.Change`.
Receivers run in a transaction that sees the event's organization and stores the cursor: what they write with Django
is kept with the cursor, or not at all. One that raises ends the command, and the event comes again at its next start.
"""
