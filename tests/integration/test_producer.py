"""The producer: its messages are Celery's, many go at once, and what it says it sent has arrived."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socket import create_connection, create_server, socket
from time import process_time
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kombu import pools

from backmarket.errors import BrokerUnavailable, LimiterUnavailable, SettingsError
from backmarket.limits.shared import SharedLimiter
from backmarket.messages import QUEUES, SYNC_TASKS, Nudge
from backmarket.producer import BATCH, Producer, celery_settings
from backmarket.standalone.embedded import Stack
from backmarket.status.broker import Broker
from tests.support.databases import own_redis

PASSWORD = "p@ss/word:of the tests"
QUOTED = "p%40ss%2Fword%3Aof%20the%20tests"


@contextmanager
def producer_of(url: str) -> Iterator[Producer]:
    producer = Producer(url)
    try:
        yield producer
    finally:
        producer.close()


@contextmanager
def user(stack: Stack, *rules: str) -> Iterator[str]:
    """A user of Valkey with a password; a URL of a database for it."""
    at = urlsplit(own_redis(stack))
    with redis.Redis.from_url(at.geturl()) as valkey:
        valkey.execute_command("ACL", "SETUSER", "tester", "on", f">{PASSWORD}", *rules)
        try:
            yield at._replace(netloc=f"tester:{QUOTED}@{at.hostname}:{at.port}").geturl()
        finally:
            valkey.execute_command("ACL", "DELUSER", "tester")
            valkey.flushdb()


def nudges(count: int) -> list[Nudge]:
    return [Nudge("orders", f"org {n}") for n in range(count)]


class TestMessages:
    @pytest.mark.parametrize("resource", SYNC_TASKS)
    @pytest.mark.parametrize("organization", ["shop", "a/../b 🦊'", "x" * 200])
    def test_a_message_is_what_celery_sends(self, redis_url: str, resource: str, organization: str) -> None:
        task = SYNC_TASKS[resource]
        app = Celery(set_as_current=False)
        app.conf.update(celery_settings(redis_url))
        app.send_task(task, args=(organization,), kwargs={"nudge": True})
        app.close()
        with producer_of(redis_url) as producer:
            assert producer.nudge([Nudge(resource, organization)]) == 1
        with redis.Redis.from_url(redis_url) as valkey:
            ours, plain = (json.loads(each) for each in valkey.lrange(QUEUES[task], 0, -1))
        for message in (ours, plain):
            assert message["headers"]["expires"] is None
            assert "expiration" not in message["properties"]
            named = {message["headers"].pop("id"), message["headers"].pop("root_id")}
            assert named == {message["properties"].pop("correlation_id")}
            assert message["properties"].pop("delivery_tag")
            message["properties"].pop("reply_to")  # each application's own
        assert ours == plain

    def test_the_first_nudge_is_worked_on_first(self, redis_url: str) -> None:
        with producer_of(redis_url) as producer:
            assert producer.nudge(nudges(BATCH + 2)) == BATCH + 2
        with redis.Redis.from_url(redis_url) as valkey:
            told = [json.loads(each)["headers"]["argsrepr"] for each in reversed(valkey.lrange("orders", 0, -1))]
        assert told == [f"('org {n}',)" for n in range(BATCH + 2)]

    def test_every_message_has_an_id_of_its_own(self, redis_url: str) -> None:
        with producer_of(redis_url) as producer:
            producer.nudge(nudges(BATCH + 2))
        with redis.Redis.from_url(redis_url) as valkey:
            messages = [json.loads(each) for each in valkey.lrange("orders", 0, -1)]
        assert len({message["headers"]["id"] for message in messages}) == BATCH + 2
        assert len({message["properties"]["delivery_tag"] for message in messages}) == BATCH + 2

    def test_a_thousand_take_two_commands_and_a_fraction_of_the_work(self, redis_url: str) -> None:
        with producer_of(redis_url) as producer, redis.Redis.from_url(redis_url) as valkey:
            producer.nudge(nudges(1))
            before = valkey.info("commandstats")["cmdstat_lpush"]["calls"]
            began = process_time()
            assert producer.nudge(nudges(1000)) == 1000
            together = process_time() - began
            assert valkey.info("commandstats")["cmdstat_lpush"]["calls"] - before == 1000 / BATCH
            began = process_time()
            assert sum(producer.nudge([nudge]) for nudge in nudges(100)) == 100
            one_by_one = 10 * (process_time() - began)
        assert together < one_by_one / 2, "0.06 s where this was written, and 0.5 s"


class TestBroker:
    def test_the_host_applications_broker_is_not_ours(self, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL"):
            monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
        with producer_of(redis_url) as producer:
            assert producer.nudge([Nudge("orders", "shop")]) == 1
        with redis.Redis.from_url(redis_url) as client:
            assert client.llen("orders") == 1

    def test_what_went_before_the_broker_was_killed_is_counted_and_nothing_else(
        self, redis_url: str, stack: Stack
    ) -> None:
        def killed_on_the_way() -> Iterator[Nudge]:
            yield from nudges(BATCH + 1)
            stack.valkey.kill()
            yield from nudges(BATCH)

        with producer_of(redis_url) as producer:
            assert producer.nudge(killed_on_the_way()) == BATCH
            assert producer.nudge(nudges(1)) == 0
            stack.valkey.start()
            assert producer.nudge(nudges(3)) == 3

    def test_a_connection_that_redis_closed_on_the_way_loses_nothing(self, redis_url: str) -> None:
        with producer_of(redis_url) as producer, redis.Redis.from_url(redis_url) as valkey:

            def cut_on_the_way() -> Iterator[Nudge]:
                yield from nudges(BATCH + 1)
                valkey.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                yield from nudges(BATCH)

            assert producer.nudge(cut_on_the_way()) == 2 * BATCH + 1
            assert valkey.llen("orders") == 2 * BATCH + 1

    def test_a_broker_that_refuses_to_write_is_told_from_one_that_wrote(
        self, stack: Stack, caplog: pytest.LogCaptureFixture
    ) -> None:
        with user(stack, "~*", "+@all", "-lpush", "-llen") as url, producer_of(url) as producer:
            assert producer.nudge(nudges(1)) == 0
            assert "no permissions" in caplog.text
            with pytest.raises(BrokerUnavailable, match="no permissions"):
                producer.lengths()

    def test_the_limiter_hands_on_redis_s_reason_and_does_without_info(self, stack: Stack) -> None:
        with user(stack, "~*", "+@all", "-info") as url:
            limiter = limiter_of(url)
            limiter.skip_recovery()
            assert limiter.acquire("account").slots
            assert Broker(url).info() == {"redis_mode": "standalone", "role": "master"}
        with user(stack, "~*", "+@all", "-evalsha") as url, pytest.raises(LimiterUnavailable, match="no permissions"):
            limiter_of(url).acquire("account")

    def test_the_mode_of_a_server_is_told_in_redis_s_words(self, stack: Stack) -> None:
        """Valkey 9 calls it `server_mode`: a cluster would not be known as one."""
        with user(stack, "~*", "+@all") as url:
            assert Broker(url).info()["redis_mode"] == "standalone"

    def test_a_url_with_a_user_a_password_and_a_database(self, stack: Stack) -> None:
        with user(stack, "~*", "+@all") as url, producer_of(url) as producer:
            assert producer.nudge(nudges(2)) == 2
            with redis.Redis.from_url(url) as valkey:
                assert valkey.llen("orders") == 2

    def test_a_url_with_tls_reaches_no_server_whose_certificate_is_not_trusted(
        self, redis_url: str, tmp_path: Path
    ) -> None:
        theirs, other = (certificate(tmp_path / name) for name in ("theirs", "other"))
        at = urlsplit(redis_url)
        for trusted, sent in ((other, 0), (theirs, 2)):
            with tls_before(redis_url, theirs) as port, redis.Redis.from_url(redis_url) as valkey:
                place = f"rediss://:{at.password}@127.0.0.1:{port}{at.path}"
                with producer_of(f"{place}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={trusted}") as producer:
                    assert producer.nudge(nudges(2)) == sent
                assert valkey.llen("orders") == sent

    def test_tls_without_options_trusts_the_systems_authorities_alone(
        self, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`SSL_CERT_FILE` stands for the system's."""
        theirs = certificate(tmp_path / "theirs")
        at = urlsplit(redis_url)
        with tls_before(redis_url, theirs) as port:
            url = f"rediss://:{at.password or ''}@127.0.0.1:{port}{at.path}"
            assert asked(url) == (0, False, False)
            assert asked(f"{url}?ssl_cert_reqs=none&ssl_check_hostname=false")[0] == 1
            monkeypatch.setenv("SSL_CERT_FILE", str(theirs))
            assert asked(url) == (1, True, True)

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("memory://", "inside one process"),
            ("amqp://u:secret@host//", "RabbitMQ"),
            ("sentinel://:secret@host:26379/0", "Sentinel"),
            ("unix:///run/redis.sock", r"redis\+socket"),
            ("redis://:secret@host:port/0", "a number as port"),
        ],
    )
    def test_a_url_of_no_broker_is_refused_with_a_sentence(self, url: str, said: str) -> None:
        for take in (Producer, Broker, celery_settings):
            with pytest.raises(SettingsError, match=said) as refused:
                take(url)
            assert "secret" not in refused.value.message


def asked(url: str) -> tuple[int, bool, bool]:
    """Messages sent, and whether the broker and the limiter can be asked."""
    pools.reset()  # kombu keeps connections of a process by address, whatever their TLS options
    with producer_of(url) as producer:
        sent = producer.nudge(nudges(1))
    broker = Broker(url)
    try:
        return sent, can(broker.ping), can(lambda: limiter_of(url).peek("account"))
    finally:
        broker.close()


def can(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (BrokerUnavailable, LimiterUnavailable):
        return False
    return True


def limiter_of(url: str) -> SharedLimiter:
    return SharedLimiter(url, limit=1, window=1, sensitive_limit=1, deadline=1)


def certificate(directory: Path) -> Path:
    """A certificate of 127.0.0.1 that signed itself, with its key, in one file."""
    directory.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = directory / "both.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
    )
    return path


@contextmanager
def tls_before(redis_url: str, certificate: Path) -> Iterator[int]:
    """A port that speaks TLS, with Redis behind it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    at = urlsplit(redis_url)

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return  # closed: the test is over
            threading.Thread(target=one, args=(plain,), daemon=True).start()

    def one(plain: socket) -> None:
        try:
            with (
                context.wrap_socket(plain, server_side=True) as outside,
                create_connection((at.hostname, at.port or 6379)) as inside,
            ):
                back = threading.Thread(target=pump, args=(inside, outside), daemon=True)
                back.start()
                pump(outside, inside)
        except ssl.SSLError:
            plain.close()  # it does not trust us

    with create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def pump(source: Any, sink: Any) -> None:
    try:
        while read := source.recv(65536):
            sink.sendall(read)
    except OSError:
        pass  # either side is gone
