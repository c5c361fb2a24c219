"""The doctor: faults are planted, each is found, and what it advises is what helps."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from cryptography.fernet import Fernet
from minio import Minio
from minio.versioningconfig import VersioningConfig
from typer.testing import CliRunner

from backmarket.cli.app import app
from backmarket.database import SCHEMA_VERSION
from backmarket.doctor import Finding, servers
from backmarket.errors import BrokerUnavailable
from backmarket.organizations.lifecycle import enable
from backmarket.standalone.embedded import Stack
from tests.support.databases import as_process, as_role, own_redis, shared_database
from tests.support.sandboxes import fresh_sandbox
from tests.support.sellers import Shop, environment
from tests.support.settings import fresh_settings

ORG = "auth0|1"
STRANGER = "doctors_stranger"
_GRANT = "GRANT {} TO backmarket_worker"


@dataclass
class Patient:
    """A deployment that is well, until something is planted, and again afterwards."""

    variables: dict[str, str]
    shop: Shop
    stack: Stack
    endings: list[Callable[[], object]] = field(default_factory=list)

    def set(self, name: str, value: str) -> None:
        self.variables[f"BACKMARKET_{name}"] = value

    def sql(self, statement: str, healing: str) -> None:
        self.shop.execute(statement)
        self.endings.append(lambda: self.shop.execute(healing))

    def bucket(self) -> tuple[Minio, str]:
        at = self.stack.addresses
        client = Minio(urlsplit(at.s3_endpoint_url).netloc, at.s3_access_key, at.s3_secret_key, secure=False)
        return client, self.variables["BACKMARKET_S3_BUCKET"]

    def redis(self, name: str, value: str, healthy: str) -> None:
        def set_to(value: str) -> None:
            with redis.Redis.from_url(self.stack.addresses.redis_url) as client:
                client.config_set(name, value)

        set_to(value)
        self.endings.append(lambda: set_to(healthy))

    def redis_command(self, *words: str) -> None:
        with redis.Redis.from_url(self.stack.addresses.redis_url) as client:
            client.execute_command(*words)

    def examine(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """What the command says, to a program."""
        result = CliRunner().invoke(app, ["doctor", "--json", *arguments], env=self.variables)
        assert result.stderr == ""
        return result.exit_code, json.loads(result.stdout)["items"]


@pytest.fixture(scope="module")
def shop(stack: Stack, s3_url: str) -> Iterator[Shop]:
    at = stack.addresses
    with psycopg.connect(stack.addresses.database_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {STRANGER} LOGIN".encode())
    with shared_database(stack, "doctor") as url, fresh_sandbox() as sandbox:
        settings = fresh_settings(
            database_url=url,
            redis_url=own_redis(stack),
            s3_endpoint_url=s3_url,
            s3_access_key=at.s3_access_key,
            s3_secret_key=at.s3_secret_key,
            s3_bucket="doctor",
        )
        shop = Shop(settings, sandbox.control)
        shop.services.bucket.ensure()
        shop.sell(ORG, orders=60)
        shop.sync(ORG)
        yield shop
        shop.services.close()


@pytest.fixture
def patient(shop: Shop, stack: Stack) -> Iterator[Patient]:
    shop.services.limiter.skip_recovery()  # another test may have emptied Redis
    patient = Patient(environment(shop.settings), shop, stack)
    yield patient
    for end in patient.endings:
        end()


def wrong_password(patient: Patient) -> None:
    patient.set("DATABASE_URL", "postgresql://nobody:secret-word@127.0.0.1:1/nothing")


def no_tables(patient: Patient) -> None:
    patient.set("DATABASE_URL", patient.stack.addresses.database_url)


def older_tables(patient: Patient) -> None:
    version = "UPDATE backmarket.schema_version SET version ="
    patient.sql(f"{version} 1", f"{version} {SCHEMA_VERSION}")


def newer_tables(patient: Patient) -> None:
    newer = SCHEMA_VERSION + 1
    patient.sql(
        f"INSERT INTO backmarket.schema_version (version) VALUES ({newer})",
        f"DELETE FROM backmarket.schema_version WHERE version = {newer}",
    )


def login_without_role(patient: Patient) -> None:
    patient.set("DATABASE_URL", as_role(patient.variables["BACKMARKET_DATABASE_URL"], STRANGER))


def workers_login(patient: Patient) -> None:
    patient.set("DATABASE_URL", as_process(patient.variables["BACKMARKET_DATABASE_URL"], "worker"))


def missing_right(patient: Patient) -> None:
    workers_login(patient)
    patient.sql("REVOKE ALL ON backmarket.walks FROM backmarket_worker", _GRANT.format("ALL ON backmarket.walks"))


def restored_without_rights(patient: Patient) -> None:
    workers_login(patient)
    patient.sql("REVOKE USAGE ON SCHEMA backmarket FROM backmarket_worker", _GRANT.format("USAGE ON SCHEMA backmarket"))


def no_broker(patient: Patient) -> None:
    patient.set("BROKER_URL", "redis://:secret-word@127.0.0.1:1/0")


def forgetful_broker(patient: Patient) -> None:
    patient.redis("maxmemory-policy", "allkeys-lru", "noeviction")


def no_limiter(patient: Patient) -> None:
    patient.set("BROKER_URL", patient.variables["BACKMARKET_REDIS_URL"].replace("unix://", "redis+socket://"))
    patient.set("REDIS_URL", "redis://:secret-word@127.0.0.1:1/0")


def user_without_rights(patient: Patient) -> None:
    at = urlsplit(patient.stack.addresses.redis_url)
    patient.redis_command("ACL", "SETUSER", "poor", "on", ">secret-word", "~*", "&*", "+ping", "+info")
    patient.endings.append(lambda: patient.redis_command("ACL", "DELUSER", "poor"))
    url = at._replace(netloc=f"poor:secret-word@{at.hostname}:{at.port}").geturl()
    patient.set("BROKER_URL", patient.variables["BACKMARKET_REDIS_URL"])
    patient.set("REDIS_URL", url)


def replica(patient: Patient) -> None:
    patient.redis_command("REPLICAOF", "127.0.0.1", "1")
    patient.endings.append(lambda: patient.redis_command("REPLICAOF", "NO", "ONE"))


def no_bucket_server(patient: Patient) -> None:
    patient.set("S3_ENDPOINT_URL", "http://127.0.0.1:1")


def silent_bucket_server(patient: Patient) -> None:
    listening = socket.create_server(("127.0.0.1", 0))  # the kernel takes connections, nobody answers
    patient.endings.append(listening.close)
    patient.set("S3_ENDPOINT_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")


def wrong_bucket_key(patient: Patient) -> None:
    patient.set("S3_SECRET_KEY", "secret-word")


def versioned_bucket(patient: Patient) -> None:
    client, _ = patient.bucket()
    client.make_bucket("doctor-versioned")
    client.set_bucket_versioning("doctor-versioned", VersioningConfig("Enabled"))
    patient.endings.append(lambda: client.remove_bucket("doctor-versioned"))
    patient.set("S3_BUCKET", "doctor-versioned")


def locked_bucket(patient: Patient) -> None:
    client, _ = patient.bucket()
    client.make_bucket("doctor-locked", object_lock=True)
    patient.endings.append(lambda: client.remove_bucket("doctor-locked"))
    patient.set("S3_BUCKET", "doctor-locked")


def public_bucket(patient: Patient) -> None:
    client, name = patient.bucket()
    resource = [f"arn:aws:s3:::{name}/*"]
    everybody = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    client.set_bucket_policy(name, policy)
    patient.endings.append(lambda: client.delete_bucket_policy(name))


def no_limiter_key(patient: Patient) -> None:
    patient.set("LIMITER_KEY", "")


def no_secret_key(patient: Patient) -> None:
    patient.set("SECRET_KEYS", "secret-word")


def another_secret_key(patient: Patient) -> None:
    patient.set("SECRET_KEYS", Fernet.generate_key().decode())


def wrong_number(patient: Patient) -> None:
    patient.set("RATE_LIMIT", "plenty")


def nobody_works(patient: Patient) -> None:
    due = "UPDATE backmarket.sync_state SET next_due_at = now()"
    patient.sql(f"{due} - interval '1 hour'", f"{due} + interval '1 hour'")


def refused_key(patient: Patient) -> None:
    patient.shop.sandbox.patch_seller(ORG, token="another")
    patient.endings.append(lambda: patient.shop.sandbox.patch_seller(ORG, token=f"token-of-{ORG}"))
    patient.endings.append(lambda: enable(patient.shop.services.database, ORG))


def disabled(patient: Patient) -> None:
    patient.sql("UPDATE backmarket.connections SET enabled = false", "UPDATE backmarket.connections SET enabled = true")


PLANTED = [
    (wrong_password, "database", "Connection refused", "BACKMARKET_DATABASE_URL"),
    (no_tables, "schema", "has no backmarket tables", "`backmarket db init`"),
    (older_tables, "schema", "has schema version 1", "`backmarket db migrate`"),
    (newer_tables, "schema", f"has schema version {SCHEMA_VERSION + 1}", "newer version here"),
    (login_without_role, "database", "sees no rows", f'GRANT backmarket_worker TO "{STRANGER}"'),
    (missing_right, "database login", "lacks rights on walks", "`backmarket db migrate`"),
    (restored_without_rights, "schema", "lacks a right (permission denied for schema", "`backmarket db migrate`"),
    (no_broker, "broker", "cannot be used", "BACKMARKET_BROKER_URL"),
    (forgetful_broker, "broker memory policy", "allkeys-lru", "maxmemory-policy noeviction"),
    (no_limiter, "limiter", "cannot be asked", "BACKMARKET_REDIS_URL"),
    (user_without_rights, "limiter", "no permissions", "docs/operations/redis.md"),
    (replica, "broker", "is a replica", "Name the primary"),
    (no_bucket_server, "bucket", "is unreachable", "BACKMARKET_S3_ENDPOINT_URL"),
    (silent_bucket_server, "bucket", "is unreachable", "BACKMARKET_S3_ENDPOINT_URL"),
    (wrong_bucket_key, "bucket", "S3 server answered", "BACKMARKET_S3_"),
    (public_bucket, "bucket privacy", "lets everyone in", "Remove that statement"),
    (no_limiter_key, "settings", "BACKMARKET_LIMITER_KEY", "any long random text"),
    (no_secret_key, "settings", "BACKMARKET_SECRET_KEYS", "`backmarket keys generate`"),
    (another_secret_key, "stored keys", "1 of 1", "Add the key that encrypted them"),
    (wrong_number, "settings", "BACKMARKET_RATE_LIMIT", ".env.example"),
    (nobody_works, "workers", "not been claimed", "is beat running"),
    (refused_key, "connection", "does not accept the key", "`backmarket connections add ORG`"),
    (disabled, "connection", "disabled", "`backmarket connections enable ORG`"),
]


@pytest.mark.parametrize(
    ("plant", "check", "found", "advice"),
    [
        pytest.param(*each, id=each[0].__name__, marks=[pytest.mark.slow] * (each[0] is silent_bucket_server))
        for each in PLANTED
    ],
)
def test_a_planted_fault_is_found_with_what_helps(
    patient: Patient, plant: Callable[[Patient], None], check: str, found: str, advice: str
) -> None:
    plant(patient)
    code, items = patient.examine("--connection", ORG)
    assert code == 1
    faults = [each for each in items if each["verdict"] == "fault"]
    assert faults[0]["check"] == check, faults
    assert found in faults[0]["found"]
    assert advice in faults[0]["found"] + faults[0]["advice"]
    assert "secret-word" not in json.dumps(items)


@pytest.mark.parametrize(
    ("plant", "found", "advice"),
    [(versioned_bucket, "keeps old versions", "lifecycle rule"), (locked_bucket, "object lock", "without object lock")],
    ids=["versions", "lock"],
)
def test_a_bucket_that_keeps_what_is_erased_is_warned_of(
    patient: Patient, plant: Callable[[Patient], None], found: str, advice: str
) -> None:
    plant(patient)
    code, items = patient.examine()
    (warned,) = [each for each in items if each["check"] == "bucket erasure"]
    assert (code, warned["verdict"]) == (0, "warning")
    assert found in warned["found"]
    assert advice in warned["advice"]


def test_a_deployment_that_is_well_has_no_fault(patient: Patient) -> None:
    code, items = patient.examine("--connection", ORG)
    assert code == 0
    assert {each["check"] for each in items if each["verdict"] == "fault"} == set()
    checked = {each["check"] for each in items if each["verdict"] == "ok"}
    assert checked >= {
        *("settings", "database", "database clock", "schema", "broker", "broker memory policy", "limiter"),
        *("limiter clock", "bucket", "bucket erasure", "bucket access", "stored keys", "workers", "connection"),
    }
    client, name = patient.bucket()
    assert list(client.list_objects(name, prefix="doctor/", recursive=True)) == []


def test_a_worker_with_a_login_of_its_own_is_well(patient: Patient) -> None:
    workers_login(patient)
    code, items = patient.examine("--connection", ORG)
    assert (code, [each for each in items if each["verdict"] == "fault"]) == (0, [])


def test_without_an_s3_server_it_is_well_and_says_what_is_off(patient: Patient) -> None:
    for name in ("S3_ENDPOINT_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        patient.set(name, "")
    code, items = patient.examine()
    (bucket,) = [each for each in items if each["check"] == "bucket"]
    assert (code, bucket["verdict"]) == (0, "ok")
    assert "labels wait" in bucket["found"]
    assert {each["verdict"] for each in items if each["check"] == "settings"} == {"ok"}


def test_half_of_the_settings_of_s3_are_a_fault(patient: Patient) -> None:
    patient.set("S3_ENDPOINT_URL", "")
    code, items = patient.examine()
    assert code == 1
    assert ["BACKMARKET_S3_ENDPOINT_URL" in each["found"] for each in items if each["verdict"] == "fault"] == [True]


def test_a_redis_that_is_new_is_no_warning_before_the_first_request(patient: Patient) -> None:
    began = "INSERT INTO backmarket.first_request DEFAULT VALUES ON CONFLICT DO NOTHING"
    verdicts = {}
    for statement in ("DELETE FROM backmarket.first_request", began):
        patient.sql(statement, began)
        with redis.Redis.from_url(patient.variables["BACKMARKET_REDIS_URL"]) as client:
            client.delete("backmarket:limiter:{all}:sentinel")
        _, items = patient.examine()
        verdicts[statement] = [each["verdict"] for each in items if each["check"] == "limiter"]
    assert [*verdicts.values()] == [["ok"], ["warning"]]


def test_for_people_each_advice_stands_below_its_fault(patient: Patient) -> None:
    patient.set("BROKER_URL", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(app, ["doctor"], env=patient.variables)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("FAULT"))
    assert lines[at].startswith("FAULT    broker: The broker cannot be used: ")
    assert lines[at + 1].startswith("         -> Is Redis running")
    assert "1 fault, " in result.stderr


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"redis_mode": "cluster"}, "is a cluster"),
        ({"redis_mode": "sentinel"}, "is a Sentinel"),
        ({"role": "slave"}, "is a replica"),
    ],
)
def test_a_redis_that_cannot_serve_is_a_fault(info: dict[str, str], said: str) -> None:
    found = servers._role("broker", info)
    assert found is not None
    assert (found.verdict, said in found.found) == ("fault", True)
    assert servers._role("broker", {"redis_mode": "standalone", "role": "master"}) is None


def test_without_any_setting_it_says_what_to_set() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    items = json.loads(result.stdout)["items"]
    assert result.exit_code == 1
    missing = {each["found"].split()[0] for each in items if each["verdict"] == "fault"}
    assert missing >= {"BACKMARKET_DATABASE_URL", "BACKMARKET_REDIS_URL", "BACKMARKET_SECRET_KEYS"}
    assert {each["check"] for each in items if each["verdict"] == "skipped"} >= {"database", "broker"}


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ("MISCONF Errors writing", "Make room"),
        ("command not allowed when used memory > 'maxmemory'.", "Make room"),
        ("You can't write against a read only replica.", "Make room"),
        ("Connection refused", "running"),
    ],
)
def test_a_broker_that_refuses_to_write_is_told_from_one_that_is_away(answer: str, advice: str) -> None:
    assert advice in servers._advice(BrokerUnavailable(f"The broker cannot be used: {answer}"), "BACKMARKET_REDIS_URL")


@pytest.mark.parametrize(("apart", "said"), [(60.0, "60 s ahead of"), (-60.0, "60 s behind")])
def test_a_clock_that_is_wrong_is_told(apart: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    (found,) = servers._clock("limiter clock", 1_000_000.0 + apart, "Redis")
    assert isinstance(found, Finding)
    assert found.verdict == "warning"
    assert said in found.found
