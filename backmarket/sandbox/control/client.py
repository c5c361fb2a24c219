"""A client for the control API of a sandbox in another process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from backmarket.sandbox.control.endpoints import SellerPatch
from backmarket.sandbox.control.statistics import Stats
from backmarket.sandbox.settings import Settings
from backmarket.sandbox.world.changes import Change, Changed
from backmarket.sandbox.world.fault_rules import Fault, FaultKind
from backmarket.sandbox.world.sellers import SellerSpec
from backmarket.sandbox.world.traffic import Entry

T = TypeVar("T")


class SandboxControl:
    """Controls and reads a running sandbox.

    Args:
        url: the sandbox's address, such as `http://127.0.0.1:8000`.
        client: the caller's httpx client, such as one over an `InProcessTransport`.
    """

    def __init__(self, url: str, client: httpx.Client | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = client or httpx.Client(timeout=120.0, trust_env=False)

    def add_seller(self, name: str, token: str, **spec: Any) -> None:
        """Open an account; `spec` are the other fields of `SellerSpec`."""
        self._send("POST", "sellers", SellerSpec(name=name, token=token, **spec))

    def patch_seller(
        self,
        name: str,
        *,
        token: str | None = None,
        revoked: bool | None = None,
        backship: bool | None = None,
    ) -> None:
        """Replace a seller's token, revoke or restore it, end or begin its BackShip subscription."""
        self._send(
            "PATCH",
            f"sellers/{quote(name, safe='')}",
            SellerPatch(token=token, revoked=revoked, backship=backship),
        )

    def add_fault(self, kind: FaultKind, **rule: Any) -> int:
        """Activate a fault; `rule` are the other fields of `Fault`. Returns its number."""
        answer = self._send("POST", "faults", Fault(kind=kind, **rule), kind=dict[str, list[int]])
        return answer["numbers"][0]

    def remove_faults(self, number: int | None = None) -> None:
        """Remove one fault, or all."""
        self._send("DELETE", "faults" if number is None else f"faults/{number}")

    def change(self, seller: str, **parts: Any) -> Changed:
        """Change a seller's orders; `parts` are the other fields of `Change`. The result is empty if it waits."""
        return self._send("POST", "changes", Change(seller=seller, **parts), kind=Changed)

    def settings(self, **changes: Any) -> Settings:
        """Change some settings (`assumptions` as a dictionary) and return all of them."""
        return self._send("POST", "settings", changes, kind=Settings)

    def stats(self) -> Stats:
        """The counters."""
        return self._send("GET", "stats", kind=Stats)

    def requests(self) -> list[Entry]:
        """The last requests, oldest first."""
        return [msgspec.json.decode(line, type=Entry) for line in self._lines("requests")]

    def reset(self) -> None:
        """Reset counters and blocks."""
        self._send("POST", "reset")

    def start_over(self) -> None:
        """Reset sellers, faults, settings and counters, as in a new process, which would take a second."""
        self._send("POST", "start-over")

    def truth(self, seller: str, resource: str = "orders", market: str = "") -> list[dict[str, Any]]:
        """All rows of a seller, each as its single-row operation would answer it, sorted by id.

        Args:
            seller: the seller's name.
            resource: the kind of rows.
            market: in which listings are shown; empty: the home market.
        """
        path = f"truth/{quote(seller, safe='')}/{resource}" + (f"?market={market}" if market else "")
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in self._lines(path)]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _lines(self, path: str) -> Iterator[bytes]:
        body = self._request("GET", path, None)
        return iter(body.split(b"\n")) if body else iter(())

    def _send(self, method: str, path: str, value: Any = None, *, kind: type[T] = object) -> T:  # type: ignore[assignment]
        body = self._request(method, path, None if value is None else msgspec.json.encode(value))
        return msgspec.json.decode(body, type=kind)

    def _request(self, method: str, path: str, content: bytes | None) -> bytes:
        response = self._http.request(method, f"{self.url}/_sandbox/{path}", content=content)
        if response.is_error:
            raise ValueError(f"the sandbox refused {method} {path}: {response.status_code} {response.text}")
        return response.content
