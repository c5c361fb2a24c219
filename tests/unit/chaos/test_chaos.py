"""The rounds of faults, as far as they are pure: what follows from a seed, what a message becomes, what is drawn."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest

from backmarket.sandbox import Fault, World
from backmarket.sandbox.world.fault_rules import FaultKind
from chaos.faults import FAULTS
from chaos.lasting import BROKEN
from chaos.messages import _pushed, an_hour_late, jumbled
from chaos.pauses import most_tries, short
from chaos.plots import bars, histogram
from chaos.report import figures, plots
from chaos.schedule import ANSWERS, KINDS, OF_S3, OUTAGE, SECONDS, STRIKE_ON, STRIKES, THINGS, plan
from chaos.strikes import Held, Struck

SEEDS = range(200)


def test_a_seed_gives_the_same_round_on_any_day() -> None:
    assert plan(17) == plan(17)
    assert len({str(plan(seed)) for seed in SEEDS}) == len(SEEDS)


def test_every_fault_has_its_class_and_its_rounds() -> None:
    assert FAULTS.keys() == KINDS.keys() >= STRIKE_ON.keys()
    counts = Counter(strike.kind for seed in SEEDS for strike in plan(seed).strikes)
    assert min(counts[kind] for kind in KINDS) >= len(SEEDS) // len(KINDS)


def test_what_a_machine_can_not_do_is_left_out() -> None:
    kinds = [kind for kind in KINDS if kind != "disk_full"]
    assert "disk_full" not in {strike.kind for seed in SEEDS for strike in plan(seed, kinds).strikes}


def test_faults_are_over_when_the_changes_are_but_for_the_outage_of_s3() -> None:
    strikes = [strike for seed in SEEDS for strike in plan(seed).strikes]
    assert min(strike.at for strike in strikes) > 0
    assert max(strike.at + strike.lasts for strike in strikes if strike.kind != OUTAGE) <= SECONDS + 0.01
    assert all([s.at for s in plan(seed).strikes] == sorted(s.at for s in plan(seed).strikes) for seed in SEEDS)


def test_nothing_else_strikes_the_s3_server_while_it_is_away_for_long() -> None:
    rounds = [[strike.kind for strike in plan(seed).strikes] for seed in SEEDS]
    long = [kinds for kinds in rounds if OUTAGE in kinds]
    assert len(long) > len(SEEDS) // len(KINDS)
    assert all(kinds[0] == OUTAGE and not OF_S3 & set(kinds[1:]) and len(kinds) == STRIKES for kinds in long)


def test_every_kind_of_fault_of_the_api_is_used_and_known_to_the_sandbox() -> None:
    rules = [dict(rule) for seed in SEEDS for rule in plan(seed).api_faults]
    tasks = {plan(seed).task_fault for seed in SEEDS} - {None}
    world = World()
    for rule in rules:
        rule.pop("group")
        world.faults.add(Fault(**rule))
    too_long = {"sku_quota"}  # it holds the account's lines for longer than a round
    assert {rule["kind"] for rule in rules} | tasks == set(FaultKind.__args__) - too_long  # type: ignore[attr-defined]


def test_three_rounds_in_four_break_one_thing_for_ever_and_go_through_all_pairs() -> None:
    found = [plan(seed).lasting for seed in SEEDS]
    pairs = {(each.thing, each.answer) for each in found if each}
    assert pairs == {(thing, answer) for thing in THINGS for answer in ANSWERS}
    assert found.count(None) == len(SEEDS) // 4
    assert BROKEN.keys() == set(THINGS)
    for rule in ANSWERS.values():
        Fault(**rule)


def test_pauses_are_short_and_bound_what_a_lasting_fault_costs() -> None:
    assert [short(seconds) for seconds in (0.0, 15.0, 60.0, 3600.0)] == [0.2, 0.5, 2.0, 4.0]
    assert [most_tries(seconds, 15.0) for seconds in (0.0, 0.3, 0.4, 1.2, 10.0)] == [1, 2, 3, 4, 7]
    assert most_tries(10.0, 2.0) > most_tries(10.0, 30.0)


SENT = {
    "body": "W1siYSJdXQ==",
    "headers": {"task": "backmarket.sync_orders", "expires": "2026-11-26T15:00:30+00:00"},
    "properties": {"delivery_tag": "1", "expiration": "60000"},
}


def test_a_message_that_is_an_hour_late_has_expired() -> None:
    late = json.loads(an_hour_late(json.dumps(SENT), without_end=False))
    assert late["headers"]["expires"] == "2026-11-26T14:00:30+00:00"


def test_a_message_without_an_end_is_late_and_counts() -> None:
    late = json.loads(an_hour_late(json.dumps(SENT), without_end=True))
    assert late["headers"]["expires"] is None
    assert "expiration" not in late["properties"]


def test_messages_are_jumbled_and_none_is_lost() -> None:
    sent = [("orders", json.dumps(SENT | {"body": str(number)})) for number in range(20)]
    late = jumbled(sent, Random(1))
    bodies = [json.loads(text)["body"] for _, text in late]
    assert sorted(bodies) == sorted(str(number) for number in range(20))
    assert bodies != [str(number) for number in range(20)]


@pytest.mark.parametrize("text", ['{"a": "b"}', '{"a": "é \\" \\\\ x41"}', "plain"])
def test_a_message_is_heard_as_it_was_sent(text: str) -> None:
    quoted = "".join(
        f"\\{char}" if char in '"\\' else char if char.isascii() else "".join(f"\\x{b:02x}" for b in char.encode())
        for char in text
    )
    line = f'1700000000.123456 [0 127.0.0.1:5000] "LPUSH" "orders" "{quoted}"'
    ((queue, heard),) = _pushed(line) or []
    assert (queue, heard.encode("latin-1").decode()) == ("orders", text)


@pytest.mark.parametrize("command", ['"GET" "orders"', '"LPUSH" "another" "{}"', '"RPUSH" "orders" "{}"'])
def test_other_commands_are_no_messages(command: str) -> None:
    assert _pushed(f"1700000000.1 [0 127.0.0.1:5000] {command}") is None


def test_a_fault_waits_for_its_aim() -> None:
    held = Held(leases=(("orders", 1), ("bulk", 2)), sending=1)
    aims = ("sync", "labels", "writes", "bulk", "bulk lease", "request", "nothing")
    assert [aim for aim in aims if held.has(aim)] == ["sync", "writes", "bulk lease", "nothing"]


def test_a_strike_counts_when_it_struck_something() -> None:
    assert Struck("kill_worker", "sync", 1.0, leases=["orders"]).counts
    assert not Struck("kill_worker", "sync", 1.0).counts
    assert not Struck("kill_worker", "sync", 1.0, leases=["orders"], missed="OperationalError").counts
    assert not Struck("second_beat", "nothing", 1.0, leases=["orders"]).counts


def line(seed: int, **parts: Any) -> dict[str, Any]:
    counted = Counter[str]()
    known: dict[str, Any] = {
        "seed": seed, "wrong": [], "took": 20.0 + seed, "counts": True, "figures": counted,
        "strikes": [Struck("kill_worker", "sync", 1.0, leases=["orders"]).as_dict()],
        "lasting": {"thing": "label", "answer": "500"} if seed > 1 else None,
    }  # fmt: skip
    counted["api faults"] = {"close": 3}  # type: ignore[assignment]
    return known | parts


def test_the_report_says_what_was_red() -> None:
    text = figures([line(1), line(2, wrong=["rows differ"]), line(190)])
    assert "| played | 3 |" in text
    assert "| red (seeds 2) | 1 |" in text
    assert "| over within 200 s | 2 |" in text
    assert "| kill worker | 3 | 3 | 3 |" in text
    assert "| label | 2 | 0 |" in text
    assert "| account | 0 | 0 |" in text


def test_plots_are_drawn_to_scale() -> None:
    for plot in [
        *plots([line(1), line(2)]).values(),
        histogram("", [], 5.0),
        bars("<&>", {"a": (1.0, 2.0)}, ("x", "y")),
    ]:
        ElementTree.fromstring(plot)
    drawn = ElementTree.fromstring(bars("", {"a": (10.0,), "b": (5.0,)}, ()))
    widths = [float(rect.get("width", "0").rstrip("%")) for rect in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[1] == pytest.approx(2 * widths[2], rel=0.01)
