"""The table of cursors; and the unmanaged models as they are, so that a later column of theirs needs no migration."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.state import ModelState

from backmarket.contrib.django.models import TABLES

_STATES = [ModelState.from_model(table) for table in TABLES]


class Migration(migrations.Migration):
    """Makes one table."""

    initial = True
    operations: ClassVar = [
        migrations.CreateModel(
            "FeedCursor",
            [
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("cursor", models.TextField()),
            ],
        ),
        *(migrations.CreateModel(each.name, list(each.fields.items()), each.options) for each in _STATES),
    ]
