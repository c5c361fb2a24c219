"""Shipping labels: how they get into the bucket. Syncs note which are wanted (`sync/label_register.py`).

`engine.py` fetches due labels: `download.py` copies one label from its address into the bucket, `retry_policy.py`
decides about failures, `rows.py` writes results. `queries.py` reads labels; `requests.py` makes them due now.
"""
