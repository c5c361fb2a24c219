"""The steps that every request passes: counting, limits, faults, latency, credentials."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from starlette.types import Receive, Scope, Send

from backmarket.sandbox.api import fault_responses, wire
from backmarket.sandbox.api.calls import Call, CallerGone
from backmarket.sandbox.api.label_files import large_pdf
from backmarket.sandbox.api.responses import Answer, Headers, Refused, html_page, rate_limited, refusal
from backmarket.sandbox.settings import Settings
from backmarket.sandbox.world import fault_rules
from backmarket.sandbox.world.fault_rules import Fault
from backmarket.sandbox.world.seeded_random import seeded_random

if TYPE_CHECKING:
    from backmarket.sandbox.world.world import World

Handler = Callable[[Call], Awaitable[Answer]]

UNKNOWN: Final = "unknown"
"""The name under which requests with an unknown token are counted."""

_COOKIE: Final = b"__cf_bm="


class Operation:
    """One operation of the API, as an ASGI application.

    Args:
        world: the sandbox's state.
        name: its name in faults, changes and statistics, such as `orders.list`.
        handler: answers it, after all other steps.
        sensitive: whether the lower limit of the sensitive operations applies, too.
        label: whether it is a file rather than an operation; a file may be public (`Assumptions.labels`).
    """

    def __init__(
        self, world: World, name: str, handler: Handler, *, sensitive: bool = False, label: bool = False
    ) -> None:
        self.world = world
        self.name = name
        self.handler = handler
        self.sensitive = sensitive
        self.label = label
        self._rng = seeded_random(world.seed, "operation", name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        arrival = monotonic()
        traffic = self.world.traffic
        traffic.enter()
        try:
            await self._pass(Call(self.world, scope, receive), arrival, send)
        except CallerGone:
            pass
        finally:
            traffic.leave()

    async def _pass(self, call: Call, arrival: float, send: Send) -> None:
        world, settings = self.world, self.world.settings
        label = call.account.name if call.account else UNKNOWN
        limited = world.limits.arrive(label, call.address, sensitive=self.sensitive, now=arrival, settings=settings)
        path: str = call.scope["path"]
        entry = world.traffic.arrive(label, self.name, call.page, arrival, dict(call.query), path if self.label else "")
        fault = None if limited else world.faults.pick(self.name, label, call.page, _with_query(path, call))
        call.fault = fault
        pause = settings.latency + (self._rng.random() * settings.jitter if settings.jitter else 0.0)
        if pause > 0:
            await asyncio.sleep(pause)
        kind = fault.kind if fault else None
        if fault and fault.kind in fault_rules.UNANSWERED:
            if fault.applied:
                await self._answer(call)
            world.answered(label, self.name)
            world.traffic.answered(entry, 0, kind)
            await wire.withhold(fault, call.scope, call.receive)
            return
        answer = rate_limited() if limited else await self._answer_with(fault, call)
        world.answered(label, self.name)
        world.traffic.answered(entry, answer.status, kind)
        headers = _common_headers(call, settings, answer)
        if fault and fault.kind == "cut":
            await wire.cut(answer, headers, call.scope, call.receive, send)
        elif fault and fault.kind == "slow":
            await wire.drip(answer, headers, fault.seconds, send)
        elif fault and fault.kind == "large_pdf" and answer.status == 200:
            size = fault.value or 0
            await wire.pour(large_pdf(size), size, headers, send)
        else:
            await wire.deliver(answer, headers, send)

    async def _answer_with(self, fault: Fault | None, call: Call) -> Answer:
        if fault is None:
            return await self._answer(call)
        instead = fault_responses.replacement(fault)
        if instead is not None:
            if fault.applied:
                await self._answer(call)
            return instead
        if fault.kind == "repeat_page":
            call.turn_to_page(fault.value or 1)
        return fault_responses.spoiled(fault, await self._answer(call), self._rng)

    async def _answer(self, call: Call) -> Answer:
        settings = self.world.settings
        open_to_all = self.label and settings.assumptions.labels == "open"
        try:
            refused_at_once = None if open_to_all else _credentials_refused(call, settings)
            return refused_at_once or await self.handler(call)
        except Refused as refused:
            answer = refused.answer
        if settings.error_shape is None:
            return answer
        return refusal(answer.status, "Refused by the sandbox.", shape=settings.error_shape)


def _credentials_refused(call: Call, settings: Settings) -> Answer | None:
    if settings.check_user_agent and not call.headers.get(b"user-agent", b"").startswith(b"BM-"):
        return html_page(403, "Forbidden")
    if settings.assumptions.cookies == "bound" and _foreign_cookie(call):
        return html_page(403, "Attention Required!")
    if call.account is None or call.account.revoked:
        status = int(settings.assumptions.bad_token)
        return refusal(status, "Invalid token.", code="unauthorized", shape=settings.error_shape or "v1")
    return None


def _cookie(call: Call) -> bytes:
    """The cookie that the firewall sets for callers of one account."""
    who = call.account.name if call.account else UNKNOWN
    return _COOKIE + hashlib.sha256(who.encode()).hexdigest()[:16].encode()


def _foreign_cookie(call: Call) -> bool:
    sent = call.headers.get(b"cookie", b"")
    return _COOKIE in sent and _cookie(call) not in sent


def _common_headers(call: Call, settings: Settings, answer: Answer) -> Headers:
    assumed = settings.assumptions
    headers: Headers = ()
    if assumed.date_header != "missing":
        skew = {"right": 0.0, "fast": settings.date_skew, "slow": -settings.date_skew}[assumed.date_header]
        headers = ((b"date", wire.http_date(call.world.now().timestamp() + skew)),)
    firewall = answer.status == 403 and answer.content_type != b"application/json"
    if (assumed.cf_ray == "always" or firewall) and not any(name == b"cf-ray" for name, _ in answer.headers):
        headers += ((b"cf-ray", b"8f0000000000sand-BOX"),)
    if assumed.cookies != "none":
        headers += ((b"set-cookie", _cookie(call) + b"; path=/; HttpOnly"),)
    return headers


def _with_query(path: str, call: Call) -> str:
    query: bytes = call.scope.get("query_string", b"")
    return f"{path}?{query.decode('latin-1')}" if query else path
