"""The bucket: the only code that talks to S3.

It works with any S3 server; the settings `S3_*` name it.
"""

from __future__ import annotations

from backmarket.bucket.client import Bucket
from backmarket.bucket.objects import Content, StoredObject

__all__ = ["Bucket", "Content", "StoredObject"]
