"""The floor for labels: a script that does nothing but fetch each and put it into the bucket, several at once.

No checks, no limiter, no rows. It reads JSON from standard input and prints one JSON line with its wall and CPU
seconds, counted after its imports:

    {"base_url", "endpoint", "access_key", "secret_key", "bucket", "threads", "labels": [[token, path], ...]}
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import urllib3
from minio import Minio

local = threading.local()


def carry(task: dict[str, Any], store: Minio, number: int) -> None:
    """One label, on this thread's own client."""
    token, path = task["labels"][number]
    if not hasattr(local, "client"):
        local.client = httpx.Client(base_url=task["base_url"], trust_env=False, timeout=30)
    headers = {"Authorization": f"Basic {token}", "User-Agent": "BM-Bench-Bare;dev@bench.example"}
    answer = local.client.get(path, headers=headers)
    answer.raise_for_status()
    pdf = answer.content
    store.put_object(task["bucket"], f"bare/{number}.pdf", io.BytesIO(pdf), len(pdf), "application/pdf")


def main() -> None:
    """Carry them all."""
    task = json.load(sys.stdin)
    threads = task["threads"]
    store = Minio(
        task["endpoint"],
        task["access_key"],
        task["secret_key"],
        secure=False,
        region="us-east-1",
        http_client=urllib3.PoolManager(maxsize=threads),
    )
    wall, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda number: carry(task, store, number), range(len(task["labels"]))):
            pass
    print(json.dumps({"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
