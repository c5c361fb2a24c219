"""What real answers and real files cost: notes that are signed anew, a recorded bulk report, a large Excel workbook.

python -m bench.real_answers [notes] [report] [workbook]
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from backmarket.bulk.rows import Outcome
from backmarket.client import Answer
from backmarket.console import paths
from backmarket.standalone.embedded import Stack
from backmarket.standalone.embedded.ports import free_ports
from tests.support.bulk_files import lines_of, run, submit
from tests.support.console import PASSWORD, console_settings, words
from tests.support.databases import make_roles, shared_database
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, counted_writes, environment
from tests.support.waiting import wait_until
from tests.support.workbooks import text, workbook

ORG = "auth0|1"
COMMAND = (sys.executable, "-c", "from backmarket.cli import main; main()")
ORDERS, LINES, BAD, SHEET_ROWS = 5_000, 5_000, 40, 100_000
NARROW = {"sku": "SKU-{}", "price": "1{}.50", "quantity": "3", "grade": "PREMIUM", "comment": "Checked by hand"}
WIDE = NARROW | {"min_price": "9.00", "currency": "EUR", "warranty_delay": "12", "product_id": "{}"}


@contextmanager
def shop(*resources: str, **changes: Any) -> Iterator[Shop]:
    """A seller on the embedded stack, with no limit in the way."""
    with Stack() as stack:
        make_roles(stack)
        limits = {"rate_limit": 1_000_000, "sku_lines_limit": 1_000_000, "bulk_poll_initial_seconds": 0.01}
        with shared_database(stack, "real_answers") as url, fresh_sandbox(limit=1_000_000) as sandbox:
            settings = console_settings(stack, url, stack.addresses.s3_endpoint_url, **(limits | changes))
            sandbox.control.settings(sku_lines_limit=1_000_000, task_delay=0.0)
            made = Shop(settings, sandbox.control, resources)
            yield made
            made.services.close()


def notes() -> None:
    """A full walk over orders that are unchanged but for the signatures of their notes."""
    with shop("orders") as seller:
        seller.sell(ORG, orders=ORDERS)
        seller.sync(ORG)
        signed = seller.one("SELECT count(*) FROM backmarket.orders WHERE delivery_note IS NOT NULL")
        before = seller.one("SELECT count(*) FROM backmarket.changes")
        with counted_writes(seller) as since:
            walked = seller.sync(ORG, full=True)
            writes = since()
        events = seller.one("SELECT count(*) FROM backmarket.changes") - before
    print(f"notes: {ORDERS} orders, {signed} notes signed anew, {walked.requests} requests: {events} events, {writes}")


ERRORS: tuple[Callable[[str], Any], ...] = (
    lambda reason: reason,
    lambda reason: [reason],
    lambda reason: {"price": [reason]},
    lambda reason: {"code": "E17", "message": reason},
)


def report() -> None:
    """A job whose tasks report as recorded, by each key, with errors in each shape."""
    with shop("listings") as seller:
        seller.sell(ORG, orders=0, listings=LINES)
        seller.sync(ORG, "listings")
        listed = seller.sandbox.truth(ORG, "listings")
        ids = {
            sku: (str(old), str(uuid))
            for sku, old, uuid in seller.execute("SELECT sku, legacy_listing_id, listing_id FROM backmarket.listings")
        }
        rows = [{"sku": row["sku"], "quantity": row["quantity"] + 1} for row in listed]
        bad = {row["sku"]: f"wrong in line {at + 2}" for at, row in enumerate(rows) if at % (LINES // BAD) == 7}
        report_as_recorded(seller, bad, ids)
        began = monotonic()
        job_id = submit(seller, ORG, rows, part_lines=LINES // 8)
        seller.sandbox.reset()
        job = run(seller, ORG, job_id)
        took = monotonic() - began
        lines = lines_of(seller, ORG, job_id)
        told = [
            line
            for line, each in lines.items()
            if each.outcome is Outcome.FAILED and f"wrong in line {line}" in (each.message or "")
        ]
        counted = {name: number for name, number in seller.sandbox.stats().sellers[ORG].operations.items() if number}
    print(f"report: {job.lines_done} done, {job.lines_failed} failed, {len(told)} of {len(bad)} reasons on their lines")
    print(f"        {job.lines_unknown} unknown, {took:.1f} s, requests {counted}")


def report_as_recorded(seller: Shop, bad: dict[str, str], ids: dict[str, tuple[str, str]]) -> None:
    """Let the answers of the worker's transport name each listing in turn by SKU, row, id and UUID."""
    transport, tasks = seller.services.transport, list[str]()
    get = transport.get

    def recorded(credentials: Any, path: str, *rest: Any, **named: Any) -> Answer:
        answer = get(credentials, path, *rest, **named)
        if not path.startswith("/ws/tasks/") or answer.status != 200:
            return answer
        task = json.loads(answer.body)
        if not task["result"]:
            return answer
        if path not in tasks:
            tasks.append(path)
        kind = tasks.index(path) % 4
        skus = [*task["result"]["product_success"]]
        keys = {sku: (sku, str(at + 2), *ids[sku])[kind] for at, sku in enumerate(skus)}
        wrong = [sku for sku in skus if sku in bad]
        task["result"] = {
            "product_success": {keys[sku]: {"publication_state": 2} for sku in skus if sku not in bad},
            "product_errors": {keys[sku]: ERRORS[at % 4](bad[sku]) for at, sku in enumerate(wrong)},
        }
        return replace(answer, body=json.dumps(task).encode())

    transport.get = recorded  # type: ignore[method-assign]


def sheet(columns: dict[str, str]) -> bytes:
    """A workbook with that many listings."""
    rows = ["<row>" + "".join(text(f"{chr(65 + at)}1", name) for at, name in enumerate(columns)) + "</row>"]
    for number in range(SHEET_ROWS):
        cells = (text(f"{chr(65 + at)}{number + 2}", each.format(number)) for at, each in enumerate(columns.values()))
        rows.append(f"<row>{''.join(cells)}</row>")
    return workbook("".join(rows))


def workbooks() -> None:
    """The same workbook by the command, the object and the console; the peak memory of each process."""
    with shop("listings") as seller, tempfile.TemporaryDirectory() as directory:
        seller.sell(ORG, orders=0, listings=10)
        for name, columns in (("narrow", NARROW), ("wide", WIDE)):
            path = Path(directory) / f"{name}.xlsx"
            path.write_bytes(sheet(columns))
            variables = os.environ | environment(seller.settings)
            code = f"from pathlib import Path; from backmarket import BackMarket; bm = BackMarket(); \
print(bm.check_listings_file({ORG!r}, Path({str(path)!r})).lines)"
            for how, command in (
                (
                    "command",
                    [sys.executable, "-c", "from backmarket.cli import main; main()", "bulk", "check", ORG, str(path)],
                ),
                ("object", [sys.executable, "-c", code]),
            ):
                _measure(f"{name} ({len(columns)} columns), {how}", command, variables)
            _console(f"{name} ({len(columns)} columns), console", path, variables)


def _measure(what: str, command: list[str], variables: dict[str, str]) -> None:
    """Run in a process of its own, whose children are none of ours."""
    runner = (
        "import json, resource, subprocess, sys; done = subprocess.run(json.loads(sys.argv[1]), capture_output=True);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode, done.stdout[-90:])"
    )
    began = monotonic()
    done = subprocess.run(
        [sys.executable, "-c", runner, json.dumps(command)], env=variables, capture_output=True, text=True, check=True
    )
    kilobytes, code, said = done.stdout.split(" ", 2)
    print(
        f"workbook {what}: {monotonic() - began:.1f} s, peak {int(kilobytes) / 1024:.0f} MB, exit {code} {said.strip()}"
    )


def _console(what: str, path: Path, variables: dict[str, str]) -> None:
    (port,) = free_ports(1)
    command = [*COMMAND, "console", "--port", str(port)]
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300.0) as client:
                wait_until(lambda: _answers(client), "the console is there")
                client.post("/login", data={"csrf": _token(client, "/login"), "name": "anna", "password": PASSWORD})
                page = paths.organization(ORG, "bulk")
                token, began = _token(client, page), monotonic()
                files = {"file": (path.name, path.read_bytes())}
                answer = client.post(f"{page}/check", data={"csrf": token}, files=files, headers={"HX-Request": "true"})
                took = monotonic() - began
            said = re.search(r"[\d,]+ of [\d,]+ lines can be sent", words(answer.text))
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024
            print(f"workbook {what}: {took:.1f} s, peak {peak:.0f} MB, {said[0] if said else answer.status_code}")
        finally:
            process.terminate()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/login").status_code == 200
    except httpx.TransportError:
        return False


def _token(client: httpx.Client, page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(page).text)
    assert found, f"{page} has no form"
    return found[1]


PARTS = {"notes": notes, "report": report, "workbook": workbooks}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
