"""A Django application: models over the tables, a read-only admin, and a signal for each event of the change feed.

INSTALLED_APPS = [..., "backmarket.contrib.django"]
"""
