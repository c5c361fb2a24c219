"""The Celery tasks: thin adapters between messages and `backmarket`. No SQL, no HTTP."""
