"""Celery's and kombu's own classes, with harmful behaviour changed: each says which behaviour it replaces.

They override names that are not all public. `tests/unit/workers/test_celery_overrides.py` fails when one of those names
is gone from the installed Celery or kombu. Two more are elsewhere: the base of all tasks (`tasks/base.py`), and the
application that sends messages (`backmarket/producer.py`), which must not import workers.
"""
