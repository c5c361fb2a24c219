"""Every operation of the API as a typed method, one file for each part of the API.

`client.py` joins them. The operations are defined in `backmarket/client/operations.py` and called by `caller.py`.
The workers do not import this package.
"""

from backmarket.client.api.client import BackMarketClient, create_backmarket_client

__all__ = ["BackMarketClient", "create_backmarket_client"]
