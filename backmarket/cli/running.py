"""`backmarket sandbox`, `demo` and `up`, which run until they are done or Ctrl-C ends them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backmarket.cli.output import say
from backmarket.cli.parameters import examples
from backmarket.errors import BackMarketError, InvalidArgument

if TYPE_CHECKING:
    from backmarket.sandbox import World

_EXTRAS = {
    "backmarket.sandbox": "sandbox",
    "backmarket.console.server": "console",
    "backmarket.console.access.users": "console",
    "workers.celery_command": "worker",
    "workers.metrics.__main__": "worker",
}
"""Extra to install for a package of ours; `embedded` for the others."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples("sandbox", "sandbox --sellers 50 --orders 1000 --latency 0.15"))(sandbox)
    app.command()(demo)
    app.command()(up)


def sandbox(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on. Anyone who reaches it can control it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8765,
    seed: Annotated[int, typer.Option(help="Seed of the invented data.")] = 0,
    sellers: Annotated[int, typer.Option(min=0, help="Number of accounts: seller-1, seller-2, ...")] = 3,
    orders: Annotated[int, typer.Option(min=0, help="Number of orders of each.")] = 300,
    latency: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Seconds added to every answer.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Maximum random seconds added.")] = 0.0,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of requests of an account in 10 seconds.")] = 200,
) -> None:
    """Run a stand-in for the Back Market API.

    It runs until Ctrl-C, for this machine alone unless --host is given. It holds invented sellers and orders, and
    answers like the real API, rate limit included.
    """
    served = import_or_explain("backmarket.sandbox")
    settings = served.Settings(latency=latency, jitter=jitter, limit=limit)
    world: World = served.World(seed, settings=settings)
    tokens = _sell(world, sellers, orders)
    try:
        served.run(world, host=host, port=port, on_ready=lambda url: _welcome(url, tokens, orders))
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python adds the address
        raise BackMarketError(f"The sandbox can't listen on {host}, port {port}: {reason}.") from None


def demo() -> None:
    """Run the main job once, with services and a sandbox of its own; nothing stays."""
    raise typer.Exit(import_or_explain("backmarket.standalone.demo").run_demo())


def up(
    sandbox: Annotated[bool, typer.Option(help="Start a sandbox, with three connected sellers.")] = True,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory for all files. Default: .stack here.")
    ] = None,
    flower_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Flower on loopback; if taken, another one.")
    ] = 5555,
    console_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the console, likewise.")] = 8600,
) -> None:
    """Run everything on this machine, until Ctrl-C.

    PostgreSQL, Valkey, an S3 server, workers, beat, Flower and the console.
    """
    raise typer.Exit(
        import_or_explain("backmarket.standalone.up").run_up(
            sandbox=sandbox, directory=directory, flower_port=flower_port, console_port=console_port
        )
    )


def _sell(world: World, sellers: int, orders: int) -> dict[str, str]:
    from rich.console import Console
    from rich.progress import track

    from backmarket.sandbox.__main__ import sample_token

    tokens = {f"seller-{number}": sample_token(world.seed, number) for number in range(1, sellers + 1)}
    for name in track(tokens, "Inventing sellers", console=Console(stderr=True), transient=True, disable=sellers < 10):
        world.add_seller(name, tokens[name], orders=orders)
    return tokens


def _welcome(url: str, tokens: dict[str, str], orders: int) -> None:
    say(f"The sandbox answers at {url}: {len(tokens)} sellers with {orders} orders each. Ctrl-C ends it.")
    if not tokens:
        return
    name, token = next(iter(tokens.items()))
    say(
        f"""
To connect a seller (its token is test data; those of the others end in -2, -3, ...):

  export BACKMARKET_ALLOWED_BASE_URLS={url}   # for the workers, too
  echo {token} | backmarket connections add {name} --api-key-stdin --base-url {url}
"""
    )


def import_or_explain(module: str, load: Callable[[str], Any] = import_module) -> Any:
    """Import a module of ours that needs more than the command line does.

    Args:
        module: its name.
        load: imports it.

    Raises:
        InvalidArgument: if its requirements are not installed; the text says how to install them.
    """
    try:
        return load(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith(("backmarket", "tasks", "workers")):
            raise
        raise InvalidArgument(
            f"This needs {error.name}. Install `backmarket[{_EXTRAS.get(module, 'embedded')}]`."
        ) from None
