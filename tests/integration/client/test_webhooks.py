"""Webhooks on the wire: where they may go, how long they take, and what an answer means."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from backmarket.client.webhooks import Webhooks
from tests.support.gate import Reply
from tests.support.receiver import Receiver

HEADERS = {"webhook-id": "evt_1"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_every_address_of_a_name_must_be_public(receiver: Receiver) -> None:
    port = receiver.origin.rpartition(":")[2]
    for addresses in (["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["::ffff:127.0.0.1"]):
        webhooks = Webhooks(resolver=lambda _, found=addresses: found)  # type: ignore[misc]
        answer = webhooks.post(f"https://shop.example:{port}/hook", HEADERS, b"{}")
        assert (answer.status, answer.error_code) == (None, "origin_refused")
        webhooks.close()
    assert receiver.refused == 0


def test_a_listed_origin_may_be_private_and_another_port_of_it_not(receiver: Receiver) -> None:
    webhooks = Webhooks(private_origins=(receiver.origin,))
    assert webhooks.post(f"{receiver.origin}/hook?x=1", HEADERS, b"{}").status == 401, "it came, without a signature"
    assert webhooks.post("http://127.0.0.1:1/hook", HEADERS, b"{}").error_code == "origin_refused"
    webhooks.close()


def test_a_connection_is_used_again(receiver: Receiver) -> None:
    webhooks = Webhooks(private_origins=(receiver.origin,))
    for _ in range(3):
        webhooks.post(f"{receiver.origin}/hook", HEADERS, b"{}")
    assert receiver.connections == 1
    webhooks.close()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
def test_a_receiver_that_stops_talking_is_left_at_the_deadline(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            connection, _ = server.accept()
            held.append(connection)
            connection.recv(4096)
            connection.sendall(answer)

        thread = Thread(target=accept)
        thread.start()
        origin = f"http://127.0.0.1:{server.getsockname()[1]}"
        webhooks = Webhooks(private_origins=(origin,), deadline=0.3)
        outcome = webhooks.post(origin, HEADERS, b"{}")
        assert (outcome.status, outcome.error_code) == (None, "network")
        thread.join()
        webhooks.close()
        for each in held:
            each.close()


def test_retry_after_is_heard_of_a_busy_receiver_alone_and_bounded(receiver: Receiver) -> None:
    webhooks = Webhooks(private_origins=(receiver.origin,))
    for status, value, expected in ((429, "7", 7.0), (503, "999999", 3600.0), (500, "7", None), (503, "soon", None)):
        receiver.unsigned = Reply(status, headers={"Retry-After": value})
        assert webhooks.post(f"{receiver.origin}/hook", HEADERS, b"{}").retry_after == expected
    webhooks.close()
