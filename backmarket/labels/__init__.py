"""Shipping labels: how each ends in the bucket. Which are wanted, syncs write down (`sync/label_register.py`).

`engine.py` fetches what is due: `download.py` brings one label from its address into the bucket, `retry_policy.py` says
what a failure means for it, `rows.py` writes down what became of it. `queries.py` reads; `requests.py` has a label
fetched now.
"""
