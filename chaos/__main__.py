"""`make chaos ARGS="--seeds 17..40"`: play rounds, and write down what each came to."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import strftime
from typing import Any

from chaos import evidence
from chaos.grounds import Grounds
from chaos.rounds import Result, play
from chaos.schedule import KINDS, plan
from chaos.sellers import Sellers

CHECKOUT = Path(__file__).parents[1]
DIRECTORY = CHECKOUT / ".tmp" / "chaos"
LIMIT = 200.0
"""Seconds that a round may take: one takes about 65, most of which is waiting for what was made to wait."""
_APART = "CHAOS_MOUNTS_APART"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play rounds until all seeds were, and say how many were green."""
    options = _options(arguments)
    done = {line["seed"] for line in read(options.results)} if not options.again else set()
    seeds = [seed for seed in options.seeds if seed not in done]
    print(f"{len(seeds)} rounds to play, {len(options.seeds) - len(seeds)} known from {options.results}")
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    green = red = 0
    directory = options.directory or DIRECTORY / f"fleet-{os.getpid()}"
    try:
        for result in rounds(seeds, directory, limit=options.limit):
            _note(options.results, result)
            _tell(result)
            green, red = green + (not result.wrong), red + bool(result.wrong)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on with what is left")
        return 130
    print(f"{green} green, {red} red")
    return int(red > 0)


def rounds(seeds: Sequence[int], directory: Path, *, limit: float, off: str = "", **settings: Any) -> Iterator[Result]:
    """Play a round for each seed on the same grounds; after a red one on new ones.

    Args:
        seeds: of the rounds.
        directory: for logs.
        limit: seconds that a round may take.
        off: the safeguard that is switched off.
        settings: of the product.
    """
    left = list(seeds)
    while left:
        with Grounds(directory, off=off, **settings) as grounds:
            kinds = [kind for kind in KINDS if grounds.possible.get(kind, True)]
            for missing in sorted(KINDS.keys() - set(kinds)):
                print(f"not on this machine: {missing}")
            while left:
                result = play(grounds, plan(left.pop(0), kinds), limit=limit)
                if result.wrong:
                    evidence.keep(grounds, Sellers.of(result.seed), directory.with_name(f"red-{result.seed}"))
                yield result
                if result.wrong:
                    break


def read(results: Path) -> list[dict[str, Any]]:
    """The rounds that were noted; of one that was played twice, the last."""
    if not results.exists():
        return []
    found = {line["seed"]: line for line in map(json.loads, results.read_text().splitlines())}
    return [found[seed] for seed in sorted(found)]


def apart() -> None:
    """Go on in a name space of mounts of our own, where we may: what is mounted is gone with us, however we end."""
    if os.geteuid() != 0 or os.environ.get(_APART) or shutil.which("unshare") is None:
        return
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0:
        os.environ[_APART] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.orig_argv[1:]])


def end_orderly() -> None:
    """Let SIGTERM end us as Ctrl-C does: what was started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=_seeds("1..200"), help="such as 17..40, or 3,5,8")
    parser.add_argument("--results", type=Path, default=DIRECTORY / "results.jsonl", help="where rounds are noted")
    parser.add_argument("--directory", type=Path, help="for logs")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that a round may take")
    parser.add_argument("--again", action="store_true", help="play the seeds that are noted, too")
    return parser.parse_args(arguments)


def _seeds(text: str) -> list[int]:
    first, dots, last = text.partition("..")
    return list(range(int(first), int(last) + 1)) if dots else [int(each) for each in text.split(",")]


def _note(results: Path, result: Result) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    line = asdict(result) | {"counts": result.counts, "took": round(result.took, 1), "at": strftime("%FT%TZ")}
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _tell(result: Result) -> None:
    struck = ", ".join(f"{one['kind']}{'' if one['counts'] else '(-)'}" for one in result.strikes)
    colour = "red  " if result.wrong else "green"
    phases = "+".join(f"{seconds:.0f}" for seconds in result.seconds.values())
    print(f"{result.seed:5} {colour} {result.took:5.1f} s ({phases})  {struck}", flush=True)
    for wrong in result.wrong:
        print(f"      {wrong}", flush=True)


if __name__ == "__main__":
    apart()
    end_orderly()
    sys.exit(main())
