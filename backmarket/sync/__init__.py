"""Syncs: one algorithm for every resource, and all that it needs.

`requests.py` and `schedule.py` say when; `engine.py` is the algorithm. `page_walk.py` knows which page comes next and
when all was seen, `page_fetcher.py` keeps pages in flight, `lookback.py` says how far back to ask. `upsert.py` stores
what differs, `removed_rows.py` finds what is gone; `leases.py` and `checkpoints.py` write how far it is. `fetch_one.py`
fetches one row now.
"""
