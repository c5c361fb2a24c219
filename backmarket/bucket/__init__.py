"""The bucket: the only code that talks to S3.

Any server that speaks S3 will do; the settings `S3_*` say which.
"""

from __future__ import annotations

from backmarket.bucket.client import Bucket
from backmarket.bucket.objects import Content, StoredObject

__all__ = ["Bucket", "Content", "StoredObject"]
