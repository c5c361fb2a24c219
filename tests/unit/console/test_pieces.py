"""The console's pure pieces: addresses, plots, sentences, and what makes a login wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmarket.bulk.csv_file import amounts, dialect, header
from backmarket.console import paths
from backmarket.console.access.addresses import is_within, networks
from backmarket.console.access.throttle import REMEMBERED, WINDOW, Throttle
from backmarket.console.numbers import whole_number
from backmarket.console.order_moves import CHANGED, Move, chosen_move, moves_of
from backmarket.console.rendering import Said, count, counted, money, on_page, says, span
from backmarket.console.sparkline import SLOTS, slots_of, sparkline
from backmarket.errors import InvalidArgument
from backmarket.queries.orders import OrderLineState
from backmarket.status.lag_history import LagSample

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def sample(hours: float, seconds: float, *, failed: bool = False) -> LagSample:
    return LagSample(NOW - timedelta(hours=hours), seconds, failed, 1)


class TestPaths:
    @given(st.text(min_size=1, max_size=200).filter(str.isprintable))
    def test_every_organization_has_one_that_leads_back_to_it(self, organization_id: str) -> None:
        part = paths.segment(organization_id)
        assert set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~")
        assert part not in {".", ".."}
        assert paths.organization_of(part) == organization_id

    @pytest.mark.parametrize("part", ["", "~", "~!!!", "~AAAA", "a b", ".", "..", "~c2hvcC0x", "~_w", "ü"])
    def test_what_is_none_of_ours_leads_nowhere(self, part: str) -> None:
        assert paths.organization_of(part) is None

    @pytest.mark.parametrize(
        "elsewhere", ["//evil.example", "https://evil.example", "/\\evil", "evil", "/a\nb", "", None]
    )
    def test_elsewhere_is_not_gone_to(self, elsewhere: str | None) -> None:
        assert paths.local(elsewhere) == "/"

    def test_a_query_leaves_out_what_is_empty(self) -> None:
        assert paths.with_query("/o", {"a": None, "b": "", "c": "x&y", "d": 0}) == "/o?c=x%26y&d=0"


class TestPlots:
    def test_half_an_hour_shows_its_worst(self) -> None:
        found = slots_of([sample(0.1, 60), sample(0.2, 90, failed=True), sample(23.9, 7), sample(25, 1)], NOW, 80)
        assert len(found) == SLOTS
        assert (found[-1].seconds, found[-1].failed, found[0].seconds) == (90, True, 7)
        assert sum(each.seconds is not None for each in found) == 2

    def test_nothing_known_is_an_empty_one(self) -> None:
        assert all(each.seconds is None for each in slots_of([], NOW, None))
        assert 'aria-label="&lt;b&gt;"' in sparkline([], NOW, None, "<b>")

    def test_what_failed_stands_out_and_bars_stay_inside(self) -> None:
        drawn = sparkline([sample(1, 10**9, failed=True)], NOW, 0, "title")
        assert 'class="bad" d="M91 21v-20"' in drawn
        assert 'd="M95 21v-2"' in drawn


class TestThrottle:
    def test_waits_until_the_oldest_try_is_over(self) -> None:
        now = [0.0]
        throttle = Throttle(2, clock=lambda: now[0])
        throttle.reserve("a")
        assert throttle.wait("a") == 0
        now[0] = 10
        throttle.reserve("a")
        assert (throttle.wait("a"), throttle.wait("b")) == (WINDOW - 10, 0)
        now[0] = WINDOW
        assert throttle.wait("a") == 0

    def test_a_success_forgets_them(self) -> None:
        throttle = Throttle(1)
        throttle.reserve("a")
        throttle.forget("a")
        assert throttle.wait("a") == 0

    def test_does_not_grow_without_end(self) -> None:
        throttle = Throttle(1)
        for number in range(REMEMBERED + 5):
            throttle.reserve(str(number))
        assert (throttle.wait("0"), throttle.wait(str(REMEMBERED)) > 0) == (0, True)
        assert len(throttle._tries) == REMEMBERED


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("11.0.0.1", False),
        ("", False),
        ("x", False),
    ],
)
def test_addresses_are_compared_as_networks(address: str, inside: bool) -> None:
    assert is_within(address, networks(["10.0.0.0/8", "fe80::/10"])) is inside


def test_moments_in_a_sentence_are_the_readers_own_and_the_rest_is_text() -> None:
    said = says("<b> until 2026-01-31 09:00:05 UTC, or 2026-02-31 09:00 UTC, or 2026-01-31 09:00 UTC.")
    assert said == (
        '&lt;b&gt; until <time datetime="2026-01-31T09:00:05+00:00">2026-01-31 09:00:05 UTC</time>, or 2026-02-31 09:00'
        ' UTC, or <time datetime="2026-01-31T09:00:00+00:00">2026-01-31 09:00 UTC</time>.'
    )
    assert says(None) == ""


def test_figures_are_read_easily() -> None:
    assert [span(each) for each in (None, 0, 59, 61, 7200, 90000)] == ["\u2013", "0 s", "59 s", "1 min", "2 h", "1 d"]
    assert [count(each) for each in (None, 0, 1234567)] == ["\u2013", "0", "1\u202f234\u202f567"]
    assert money(Decimal("1234.5"), "EUR") == "1\u202f234.50 EUR"
    assert money(None, "EUR") == "\u2013"


class Line:
    removed_at = None

    def __init__(self, number: int, sku: str, *states: int) -> None:
        self.orderline_id = number
        self.listing = sku
        self.next_states = tuple(OrderLineState(each) for each in states)


def moves(*lines: Line) -> list[Move]:
    return moves_of(lines)  # type: ignore[arg-type]


def test_a_move_names_the_lines_that_it_takes() -> None:
    found = moves(Line(4, "c", 3, 5), Line(1, "a", 2, 4), Line(2, "b", 2, 4), Line(3, "A", 2, 4), Line(5, "d", 3, 5))
    assert [(each.state.value, each.sku, [line.orderline_id for line in each.lines]) for each in found] == [
        (2, "a", [1, 3]), (2, "b", [2]), (3, None, [4, 5]), (4, "a", [1, 3]), (4, "b", [2]), (5, "c", [4]),
        (5, "d", [5]),
    ]  # fmt: skip
    assert len({each.name for each in found}) == len(found)
    assert {each.state.value for each in found if each.is_irreversible} == {4, 5}


def test_a_move_takes_what_was_shown_or_nothing() -> None:
    refund = OrderLineState.REFUNDED_AFTER_SHIPPING
    shown = moves(Line(1, "a", 6), Line(2, "b", 6))
    assert chosen_move(shown, refund, ["1"], "a") is shown[0]
    for lines, sku in [(["2"], "a"), (["1"], "b"), (["1", "2"], "a"), ([], "a"), (["1"], None), (["x"], "a")]:
        with pytest.raises(InvalidArgument, match=CHANGED[:40]):
            chosen_move(shown, refund, lines, sku)
    with pytest.raises(InvalidArgument):
        chosen_move(moves(Line(1, "a", 6), Line(2, "A", 6)), refund, ["1"], "a")
    assert chosen_move(shown, OrderLineState.ACCEPTED, [], None) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)] + [(each, None) for each in ("9" * 19, "²", "٣", "-1", "1 ", "")],
)
def test_a_whole_number_is_of_ascii_digits(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_one_thing_is_one() -> None:
    assert [counted(number, "line") for number in (0, 1, 2, 1200)] == [
        "0 lines",
        "1 line",
        "2 lines",
        "1\u202f200 lines",
    ]
    assert [counted(number, "match", "matches") for number in (1, 2)] == ["1 match", "2 matches"]


def test_a_message_stands_beside_the_form_that_it_is_about_and_else_at_the_top() -> None:
    said = Said("why", True, "write-7")
    assert [said.place(name) for name in ("write-6", "write-7", "write-8")] == [False, True, False]
    assert said.is_placed
    other = Said("why", True)
    assert not other.place("write-7")
    assert not other.is_placed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (amounts.CHOOSE, 'choose it for the whole file ("decimal sign" and "thousands")'),
        (header.MATCH, 'match it ("sent as")'),
        (dialect.other_encoding(0x41), 'save the file as CSV UTF-8 in Excel, or choose its encoding ("encoding")'),
    ],
)
def test_what_to_do_about_a_file_names_what_the_page_has_and_no_option_of_the_command(text: str, shown: str) -> None:
    assert " --" in text
    assert on_page(text) == shown
