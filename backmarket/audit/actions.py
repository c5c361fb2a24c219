"""The acts that are recorded: a stable verb for each, and what it means."""

from __future__ import annotations

from collections.abc import Mapping

ACTIONS: Mapping[str, str] = {
    "connection.add": "an organization was connected",
    "connection.change": "its key (`api_key`) or settings changed; `fields` names them",
    "connection.check": "a check whose answer cleared or set the refusal of the key",
    "connection.disable": "its requests were stopped",
    "connection.enable": "its requests were resumed",
    "connection.remove": "it was removed with its rows",
    "keys.rotate": "stored API keys were encrypted again; one line for up to 500 keys",
    "limiter.skip_recovery": "requests were sent at once after Redis lost its count of them",
    "schedule.change": "the schedule of a resource changed",
    "sync.accept_missing": "very many missing rows were accepted as missing",
    "order.accept": "order lines were accepted",
    "order.cancel": "order lines were cancelled",
    "order.ship": "order lines were marked as shipped",
    "order.refund": "order lines were refunded",
    "order.change": "order lines were moved to another state",
    "order.invoice": "an invoice was given to an order",
    "order.erase": "an order's personal data was erased",
    "orderline.identify": "a device's identifiers were registered",
    "listing.change": "a listing's price, quantity or another field changed; `fields` names them",
    "write.retry": "a write was queued again",
    "write.settle": "a person settled a write",
    "bulk.submit": "a file of listings was submitted",
    "bulk.cancel": "a bulk job was cancelled",
    "bulk.settle": "a person settled a part of a bulk job",
    "labels.requeue": "labels that were given up, or waited for a retry, were queued again",
    "label.fetch": "a label that was not stored was queued for fetching",
    "bucket.sweep": "a sweep of the bucket was begun by hand",
    "event.create": "a webhook was created",
    "event.change": "an endpoint for events changed; `fields` names what",
    "event.rotate_secret": "a webhook got a new secret",
    "event.disable": "an endpoint was disabled: by a person, or as it was failing or gone; `reason` says which",
    "event.enable": "an endpoint was enabled",
    "event.delete": "an endpoint was deleted",
    "event.redeliver": "events were sent to an endpoint again",
    "console.login": "a person logged in to the console, or was refused: `code` says why",
    "console.logout": "a person logged out of the console",
    "console.act": "a form was refused that the person's role may not send; `form` names it",
    "console.end_sessions": "sessions of the console were ended, of one person or of all",
    "upkeep.run": "the upkeep was run by hand, with the settings of the process that ran it",
    "schema.migrate": "the tables were migrated to another version",
}
"""What can be recorded; a name is never given another meaning."""
