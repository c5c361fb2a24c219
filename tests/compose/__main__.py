"""`python -m tests.compose`: from a fresh checkout to nothing left behind; exit code 0: all was well."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import msgspec

from backmarket.facade import BackMarket
from backmarket.sandbox.control.client import SandboxControl
from backmarket.services import Services
from backmarket.standalone.demo import checks
from backmarket.standalone.demo.checks import DemoFailed, Shops
from backmarket.standalone.demo.screen import Screen
from backmarket.standalone.demo.sellers import DEAD, FAULTS, SELLERS
from tests.compose import breaking, flower, scaling
from tests.compose.engine import OWN_MINIO, STAND_INS, build_images, engine, megabytes
from tests.compose.project import PATIENCE_SECONDS, Project, fresh_checkout, project, refusal, wait_until, write_env
from tests.compose.report import STAND_IN, Report

PARTS = {"breaking": breaking.tell, "scaling": scaling.tell, "flower": flower.tell}
WORKERS = ("worker-sync", "worker-bulk", "worker-labels", "worker-writes", "worker-events", "worker-dispatch")
REACHED = {
    "beat": ["redis"],
    "metrics": ["redis", "postgres"],
    "worker-sync": ["redis", "postgres", "minio", "sandbox"],
    "console": ["redis", "postgres", "minio", "sandbox"],
}
"""The servers that a process reaches. Not Flower's: with the development file all servers are published beside it."""
SELDOM = 30 * 86400.0
"""Seconds between two syncs: the story itself says when one is wanted."""


def main() -> int:
    """Tell the story."""
    screen = Report("" if OWN_MINIO else STAND_IN)
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="of the story after the demo's work; all")
    parts = parser.parse_args().parts or list(PARTS)
    try:
        with ExitStack() as ending:
            tell(screen, ending, parts)
    except Exception as error:  # noqa: BLE001 - whatever it is, the story failed, and all is taken down by now
        screen.crashed(f"It failed: {error}")
        return 1
    screen.say("Everything was taken down and removed.")
    return 0


def tell(screen: Screen, ending: ExitStack, parts: Sequence[str]) -> None:
    """Each step, in order."""
    with screen.step("A Docker engine runs"):
        ending.enter_context(engine())
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="backmarket-compose.")))
        fresh_checkout(directory)
    with screen.step("The images are built, ours and what stands for those that cannot be pulled"):
        build_images(directory)
    base, ours = megabytes("backmarket-test/base"), megabytes(STAND_INS["BACKMARKET_IMAGE"])
    screen.say(f"    the image has {ours} MB, {base} of them its base")
    with screen.step("Without secrets nothing starts, and a sentence says what is missing"):
        expect("is not set. deploy/secrets writes .env" in refusal(directory), refusal(directory))
    write_env(directory)
    stack = ending.enter_context(project(directory))
    with screen.step("docker-compose up: every container is healthy, or has done its work"):
        stack.up()
        stack.wait_well()
    with screen.step("None but MinIO is root, none has a capability or a file system that can be written"):
        hardened(stack)
    with screen.step("Each process reaches the servers that it needs, and no others"):
        apart(stack)
    shops = open_shops(stack, ending)
    the_demos_work(screen, shops)
    with screen.step("The deployment's figures are told to Prometheus"):
        figures(stack)
    for part in parts:
        PARTS[part](screen, stack, shops)
    peaks = {service: stack.peak_memory(service) for service in ("beat", "flower", "metrics", *WORKERS)}
    screen.say("    memory at most, MiB: " + ", ".join(f"{service} {peak}" for service, peak in peaks.items()))


def hardened(stack: Project) -> None:
    """As docker-compose.yml says."""
    for container in stack.containers():
        found = stack.inspect(container)
        service = found["Config"]["Labels"]["com.docker.compose.service"]
        published = {port["HostIp"] for ports in found["HostConfig"]["PortBindings"].values() for port in ports}
        expect(published <= {"127.0.0.1"}, f"{service} is published on {published}")
        expect(found["HostConfig"]["Memory"] > 0, f"{service} has no limit of memory")
        expect(found["HostConfig"]["ReadonlyRootfs"], f"{service} can be written")
        expect(found["HostConfig"]["CapDrop"] == ["ALL"], f"{service} keeps {found['HostConfig']['CapDrop']}")
        if service != "minio":
            users = {"10001:10001", "postgres", "redis"}
            expect(found["Config"]["User"] in users, f"{service} is {found['Config']['User']!r}")


def apart(stack: Project) -> None:
    """A process reaches the servers that its settings name, and no others by name."""
    reached = (
        "import contextlib, socket\n"
        "for name, port in (('redis', 6379), ('postgres', 5432), ('minio', 9000), ('sandbox', 8765)):\n"
        "    with contextlib.suppress(OSError), socket.create_connection((name, port), 5): print(name)"
    )
    for service, servers in REACHED.items():
        told = stack.compose("exec", "-T", service, "python", "-c", reached).split()
        expect(told == servers, f"{service} reaches {told}")


def figures(stack: Project) -> None:
    """What Prometheus would read inside the network, on the health port of all processes."""
    ask = "import urllib.request as u; print(u.urlopen('http://metrics:9808/metrics').read().decode())"
    told = stack.compose("exec", "-T", "metrics", "python", "-c", ask)
    expect("backmarket_queue_messages" in told, told[-2000:])


def open_shops(stack: Project, ending: ExitStack) -> Shops:
    """Everything that is looked at, as a host application on this machine sees it."""
    settings = stack.settings()
    services = Services(settings)
    ending.callback(services.close)
    market = ending.enter_context(BackMarket(settings))
    # the workers call it by another name, which its answers repeat
    client = httpx.Client(headers={"Host": "sandbox:8765"}, timeout=120.0, trust_env=False)
    control = SandboxControl(f"http://127.0.0.1:{stack.values['SANDBOX_PORT']}", client)
    ending.enter_context(closing(control))
    services.limiter.skip_recovery()  # nobody has asked this sandbox anything yet
    return Shops(market, services.database, control)


def the_demos_work(screen: Screen, shops: Shops) -> None:
    """What `make demo` does, done by the containers."""
    with screen.step("The demo's sellers are connected, and synced"):
        for resource, entry in shops.market.get_schedule().items():
            shops.market.update_schedule(resource, interval=SELDOM, full_interval=entry.full_interval and SELDOM)
        shops.sandbox.settings(latency=0.1, jitter=0.1)
        for kind, share in FAULTS.items():
            shops.sandbox.add_fault(kind, probability=share, status=502)
        for seller in SELLERS:
            shops.sandbox.add_seller(**msgspec.structs.asdict(seller))
        shops.sandbox.patch_seller(DEAD, revoked=True)
        for seller in SELLERS:
            shops.market.upsert_connection(seller.name, seller.token, base_url="http://sandbox:8765")
        wait_until(shops.all_settled, PATIENCE_SECONDS, "every seller was synced, or refused")
    labels = checks.labels_given(shops)
    for sentence, check in (
        ("Every row is stored as the sandbox has it", checks.equal_to_the_truth),
        ("The seller without BackShip misses nothing else", checks.no_backship),
        (f"All {labels} labels are in the bucket, each as the sandbox has it", checks.labels_stored),
        ("The seller whose token was revoked is told so", checks.dead_token_is_told),
        ("Synced again: one request each, and nothing was written", checks.quiet_sync),
        ("5 changes arrive, with 5 events", checks.five_changes),
        ("3 listings that are gone are marked so", checks.three_listings_gone),
        (f"A bulk file of {checks.BULK_LINES} lines is done, each line once", checks.bulk_files),
        ("No rate limit was exceeded", checks.limit_kept),
    ):
        with screen.step(sentence):
            check(shops)


def expect(so: object, otherwise: str) -> None:
    """Raises `DemoFailed`: it is not so."""
    if not so:
        raise DemoFailed(otherwise)


if __name__ == "__main__":
    sys.exit(main())
