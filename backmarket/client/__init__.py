"""The Back Market HTTP client.

`transport.py` is the only code that sends to the API, `rate_limited.py` with a slot of the limiter; `answers.py`
maps answers to errors; `endpoints.py` knows hosts and locales. `downloads.py` fetches files: `origins.py`
says from where, `pinned_dns.py` connects to the checked address, `pdf.py` checks the content. `deadline.py` ends every
wait of both in time.
"""

from backmarket.client.answers import Answer, check, limit_reached, retry_after
from backmarket.client.credentials import Credentials
from backmarket.client.endpoints import DEFAULT_LOCALES, HOSTS, LOCALES, host_for
from backmarket.client.origins import Origins

__all__ = [
    "DEFAULT_LOCALES",
    "HOSTS",
    "LOCALES",
    "Answer",
    "Credentials",
    "Origins",
    "check",
    "host_for",
    "limit_reached",
    "retry_after",
]
