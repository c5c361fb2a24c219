"""`python -m workers.health live|ready`: checks this container's process; exit code 0 or 1.

For a container's health check, every few seconds: it imports next to nothing and reads two variables by itself
(measured: 20 ms of CPU; with `http.client` and the settings 250).
"""

from __future__ import annotations

import os
import socket
import sys

PATHS = {"live": "/livez", "ready": "/readyz"}
SECONDS = 4.0
"""Maximum seconds for an answer; readiness itself takes at most 3."""
UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - listened on, not asked


def main(arguments: list[str]) -> int:
    """Ask the process, print the answer, and return the exit code."""
    if len(arguments) != 1 or arguments[0] not in PATHS:
        print("Usage: python -m workers.health live|ready", file=sys.stderr)  # noqa: T201
        return 2
    host = os.environ.get("BACKMARKET_HEALTH_HOST", "127.0.0.1")
    port = os.environ.get("BACKMARKET_HEALTH_PORT", "")
    if port in {"", "0"}:
        print("Set BACKMARKET_HEALTH_PORT: without it, the process does not report its health.", file=sys.stderr)  # noqa: T201
        return 1
    try:
        status, body = ask(UNSPECIFIED.get(host, host), int(port), PATHS[arguments[0]])
    except (OSError, ValueError) as error:
        print(f"No answer from port {port}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(body.strip())  # noqa: T201
    return 0 if status == 200 else 1


def ask(host: str, port: int, path: str) -> tuple[int, str]:
    """The status and body of an answer.

    Raises:
        OSError: if no answer came.
        ValueError: if it is not an HTTP answer.
    """
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
