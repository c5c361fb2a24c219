"""`python -m chaos.report`: the figures of the rounds that were played, written into docs/reliability.md.

What is between the two marks there is made here; the rest is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from chaos.__main__ import CHECKOUT, DIRECTORY, LIMIT, read
from chaos.plots import bars, histogram
from chaos.schedule import ANSWERS, KINDS, THINGS
from chaos.strikes import HARMLESS

DOCUMENT = CHECKOUT / "docs" / "reliability.md"
PLOTS = CHECKOUT / "docs" / "reliability"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

Line = Mapping[str, Any]

COUNTED = {
    "runs": "syncs that ended",
    "orders": "orders stored",
    "events": "events",
    "requests": "requests to the API",
    "changes": "changes behind our back",
    "labels": "labels stored",
    "label fetches": "labels fetched",
    "writes": "writes",
    "writes read back": "of them settled by reading back",
    "writes for a person": "of them left to a person",
    "parts": "parts of bulk files",
    "parts sent again": "of them sent a second time",
    "parts for a person": "of them left to a person",
    "takeovers": "leases taken over",
    "asked again": "times the application had to ask again",
    "messages repeated": "messages delivered twice",
    "events called": "events that the host's webhook was called for",
    "calls again": "calls of it beyond one for each event",
    "events sent as messages": "events that the host's Celery task got",
    "lasting fault met": "requests that met a lasting fault while all else became quiet",
    "lasting fault allowed": "of them allowed",
}
"""Figures of a round, and what they are called."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the figures and the plots."""
    parser = argparse.ArgumentParser(prog="python -m chaos.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=DIRECTORY / "results.jsonl")
    results = parser.parse_args(arguments).results
    rounds = read(results)
    if not rounds:
        sys.exit(f"There are no rounds in {results}: play some with `make chaos`.")
    PLOTS.mkdir(exist_ok=True)
    for name, plot in plots(rounds).items():
        (PLOTS / f"{name}.svg").write_text(plot)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{figures(rounds)}{END}{after}")
    print(f"{len(rounds)} rounds of {results} are in {DOCUMENT}")
    return 0


def figures(rounds: Sequence[Line]) -> str:
    """The tables, in Markdown."""
    parts = [
        table(("", "rounds"), overview(rounds)),
        "![Faults, and what they struck](reliability/strikes.svg)\n",
        table(("fault", "times", "struck something", "leases", "parts", "writes", "open requests"), by_kind(rounds)),
        "![How long a round took](reliability/seconds.svg)\n",
        table(("in all rounds", "number", "a round (median)"), counted(rounds)),
        table(("broken for ever, in rounds", *ANSWERS), by_answer(rounds)),
        "![Faults of the API](reliability/api.svg)\n",
    ]
    return "\n".join(parts)


def plots(rounds: Sequence[Line]) -> dict[str, str]:
    """The plots, by their names."""
    struck = {row[0]: (float(row[2]), float(row[1]) - float(row[2])) for row in by_kind(rounds)}
    api = Counter[str]()
    for line in rounds:
        api.update(line["figures"]["api faults"])
    return {
        "strikes": bars(
            "Faults of processes, servers and messages",
            struck,
            ("struck something", "nothing, or is no blow to a slice"),
        ),
        "seconds": histogram("Seconds that a round took", [line["took"] for line in rounds], 5.0, unit=" s"),
        "api": bars(
            "Requests that suffered a fault of the API", {name: (float(n),) for name, n in api.most_common()}, ()
        ),
    }


def overview(rounds: Sequence[Line]) -> list[tuple[str, str]]:
    """The number of rounds, and their outcomes."""
    red = [line["seed"] for line in rounds if line["wrong"]]
    took = [line["took"] for line in rounds]
    return [
        ("played", str(len(rounds))),
        ("green", str(len(rounds) - len(red))),
        ("red" + (f" (seeds {', '.join(map(str, red))})" if red else ""), str(len(red))),
        ("whose faults struck a held lease, a part or write being sent, or an open request",
         str(sum(line["counts"] for line in rounds))),
        (f"over within {LIMIT:g} s", str(sum(seconds <= LIMIT for seconds in took))),
        ("seconds: median, longest", f"{median(took):.0f}, {max(took):.0f}"),
    ]  # fmt: skip


def by_kind(rounds: Sequence[Line]) -> list[tuple[str, ...]]:
    """Each fault: how often, and what it struck."""
    rows = []
    strikes = [strike for line in rounds for strike in line["strikes"]]
    for kind in KINDS:
        mine = [strike for strike in strikes if strike["kind"] == kind]
        telling = mine if kind not in HARMLESS else []
        rows.append((
            kind.replace("_", " "),
            str(len(mine)),
            str(sum(strike["counts"] for strike in mine)),
            str(sum(len(strike["leases"]) for strike in telling)),
            *(str(sum(strike[name] for strike in telling)) for name in ("submitting", "sending", "requests")),
        ))  # fmt: skip
    return rows


def by_answer(rounds: Sequence[Line]) -> list[tuple[str, ...]]:
    """What was broken for ever, and the rounds by what it was answered with."""
    met = Counter((line["lasting"]["thing"], line["lasting"]["answer"]) for line in rounds if line["lasting"])
    return [(thing, *(str(met[thing, answer]) for answer in ANSWERS)) for thing in THINGS]


def counted(rounds: Sequence[Line]) -> list[tuple[str, str, str]]:
    """What was done meanwhile."""
    return [
        (words, f"{sum(line['figures'][name] for line in rounds):,}",
         f"{median(line['figures'][name] for line in rounds):,.0f}")
        for name, words in COUNTED.items()
    ]  # fmt: skip


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
