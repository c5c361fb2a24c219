"""Every operation of the API as a typed method, one file for each part of it.

`client.py` puts them together. What an operation is stands in `backmarket/client/operations.py`; how it is called, in
`caller.py`. None of it is imported by the workers' own way to the API.
"""

from backmarket.client.api.client import BackMarketClient, create_backmarket_client

__all__ = ["BackMarketClient", "create_backmarket_client"]
