"""Syncs: one algorithm for every resource, and its parts.

`requests.py` and `schedule.py` say when to sync; `engine.py` is the algorithm. `page_walk.py` knows which page comes
next and when all was seen, `page_fetcher.py` keeps pages in flight, `lookback.py` says how far back to look.
`upsert.py` stores rows that differ, `removed_rows.py` finds those that are gone; `leases.py` and `checkpoints.py` store
progress. `fetch_one.py` fetches one row now.
"""
