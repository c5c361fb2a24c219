"""Shipping labels: which are wanted, and how each ends in the bucket.

`noting.py` writes down those that syncs find; `turn.py` fetches what is due: `download.py` brings one label from its
address into the bucket, `policy.py` says what a failure means for it, `results.py` writes down what became of it.
`stored.py` reads; `asking.py` has a label fetched now.
"""

from backmarket.sync.label_register import NotedAs, note_labels, want_skipped

__all__ = ["NotedAs", "note_labels", "want_skipped"]
