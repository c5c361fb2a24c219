"""`python -m backmarket.sandbox`: serve a sandbox on loopback."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

from backmarket.sandbox.server import run
from backmarket.sandbox.times import parse_time
from backmarket.sandbox.world.world import World


def main(arguments: list[str] | None = None) -> None:
    """Serve until Ctrl-C; the first line of the output is JSON with the address."""
    parser = argparse.ArgumentParser(prog="python -m backmarket.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="TCP port on loopback; 0: any free one")
    parser.add_argument("--seed", type=int, default=0, help="everything invented follows from it")
    parser.add_argument("--sellers", type=int, default=3, help="accounts, named seller-1, seller-2, ...")
    parser.add_argument("--orders", type=int, default=300, help="orders of each")
    parser.add_argument("--start", type=parse_time, help="end of the invented times (RFC 3339); by default, now")
    parser.add_argument("--tokens-file", type=Path, help="write the accounts' tokens here, readable by you alone")
    parser.add_argument("--child", action="store_true", help="stop when standard input ends")
    options = parser.parse_args(arguments)
    world = World(options.seed, options.start)
    tokens = {f"seller-{n}": sample_token(options.seed, n) for n in range(1, options.sellers + 1)}
    for name, token in tokens.items():
        world.add_seller(name, token, orders=options.orders)
    if options.tokens_file is not None:
        options.tokens_file.touch(mode=0o600)
        options.tokens_file.write_text(json.dumps(tokens, indent=2) + "\n")
    gc.collect()
    gc.freeze()
    try:
        run(world, port=options.port, on_ready=_announce, stop_on_eof=options.child)
    except OSError as error:
        sys.exit(f"The sandbox can't listen on port {options.port}: {error.strerror}.")


def sample_token(seed: int, number: int) -> str:
    """The token of `seller-{number}` in a sandbox started from the command line."""
    return f"sandbox-{seed}-{number}"


def _announce(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
