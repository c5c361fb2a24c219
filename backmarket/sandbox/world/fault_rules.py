"""Faults on demand: rules that say which requests fail, and how."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Final, Literal

import msgspec

FaultKind = Literal[
    "status", "waf_html", "waf_json", "forbidden", "unauthorized", "rate_limited", "sku_quota", "early_404",
    "garbage", "empty", "redirect", "large_pdf",
    "reset", "close", "cut", "slow", "timeout",
    "repeat_page", "early_empty_page", "next_null_early", "wrong_count",
    "unknown_fields", "unknown_states", "nulls", "wrong_types", "id_missing", "nul_characters",
    "lone_surrogate", "task_fails", "task_hangs", "task_odd",
]  # fmt: skip

UNANSWERED: Final = frozenset({"reset", "close", "timeout"})
"""Kinds by which the caller gets no answer."""


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One rule. A request that matches it suffers `kind`; the first matching rule wins.

    Attributes:
        kind: the kind of fault.
            Answers instead of the right one: `status` (see `status` and `html`), `waf_html`, `waf_json`,
            `forbidden` (403, not subscribed), `unauthorized`, `rate_limited` (one 429), `sku_quota` (a 429 in
            JSON without a `requestId`), `early_404`, `garbage` (200 with HTML), `empty` (200 with nothing),
            `redirect` (302 to `location`), `large_pdf` (a PDF of `value` bytes).
            On the wire: `reset` (TCP RST, no answer), `close` (closed, no answer), `cut` (Content-Length
            larger than the body), `slow` (the body over `seconds`), `timeout` (no answer until the caller
            gives up or `seconds` have passed).
            The list itself: `repeat_page` (always page `value`, 1 if not given), `early_empty_page`,
            `next_null_early`, `wrong_count` (by `value`, -1 if not given).
            Its rows: `unknown_fields`, `unknown_states`, `nulls`, `wrong_types`, `id_missing` (of one row),
            `nul_characters`, `lone_surrogate`.
            Of a bulk file (operation `listings.bulk`), the task: `task_fails` (status 8, nothing applied),
            `task_hangs` (status 2 for ever), `task_odd` (status 7 for ever).
        operation: only this operation, such as `orders.list`.
        seller: only requests of this seller, by name.
        page: only this page.
        path: only this path, such as that of one label; with a `?`, only this path with this query.
        probability: share of those requests, drawn from the seed.
        after: number of first matching requests that are spared.
        count: maximum number of requests that suffer.
        status: for `status`: 500, 502, 503, 504 or any other.
        html: for `status`: an HTML page rather than JSON.
        seconds: for `slow` and `timeout`.
        value: see `kind`.
        location: see `kind`.
        applied: whether the operation takes place before its answer is lost or replaced (a write whose outcome
            the caller cannot know).
    """

    kind: FaultKind
    operation: str | None = None
    seller: str | None = None
    page: int | None = None
    path: str | None = None
    probability: float = 1.0
    after: int = 0
    count: int | None = None
    status: int = 500
    html: bool = False
    seconds: float = 60.0
    value: int | None = None
    location: str = ""
    applied: bool = False


class Rule:
    """An active fault, and how often it struck."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.seen = 0
        self.struck = 0

    def strikes(self, operation: str, seller: str, page: int | None, path: str, rng: Random) -> bool:
        """Whether this request suffers; counts it either way."""
        fault = self.fault
        asked = path if fault.path is not None and "?" in fault.path else path.partition("?")[0]
        wanted = ((fault.operation, operation), (fault.seller, seller), (fault.page, page), (fault.path, asked))
        if any(value is not None and value != actual for value, actual in wanted):
            return False
        self.seen += 1
        if self.seen <= fault.after or (fault.count is not None and self.struck >= fault.count):
            return False
        if fault.probability < 1.0 and rng.random() >= fault.probability:
            return False
        self.struck += 1
        return True


class Faults:
    """The active rules, in the order in which they were added."""

    def __init__(self, rng: Random) -> None:
        self.rules: list[Rule] = []
        self._rng = rng
        self._numbers = count(1)

    def add(self, fault: Fault) -> int:
        """Activate a rule; returns its number, for `remove`."""
        rule = Rule(next(self._numbers), fault)
        self.rules.append(rule)
        return rule.number

    def remove(self, number: int | None = None) -> None:
        """Remove one rule, or all."""
        self.rules = [] if number is None else [rule for rule in self.rules if rule.number != number]

    def pick(self, operation: str, seller: str, page: int | None, path: str) -> Fault | None:
        """The fault that this request suffers, if any."""
        for rule in self.rules:
            if rule.strikes(operation, seller, page, path, self._rng):
                return rule.fault
        return None
