"""What happens to messages on their way: heard, delivered twice, held back, delivered late and in another order."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from threading import Event, Thread
from typing import Any

import redis

from backmarket.messages import QUEUES

HOUR = timedelta(hours=1)
_QUEUES = frozenset(QUEUES.values())
_KEPT = 400
"""Messages that are remembered, to be delivered once more."""


class Wire:
    """Hears every message that goes into a queue, from any sender, and repeats it if it is told to.

    It listens with MONITOR, so it changes nothing of the product; its own messages are known by their connection.

    Args:
        url: of Redis.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = Event()
        self._thread = Thread(target=self._listen, daemon=True)
        self.repeats = False
        self.heard: list[tuple[str, str]] = []
        """Queues and messages."""
        self.repeated = 0

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def deliver(self, messages: list[tuple[str, str]]) -> None:
        """Put messages at the head of their queues; where Redis is away, they are lost."""
        with suppress(redis.RedisError), self._client() as client:
            for queue, text in messages:
                client.execute_command("RPUSH", queue, text)

    def hold_back(self, seconds: float, ended: Event) -> list[tuple[str, str]]:
        """Take messages before a worker does, as many as can be had in some seconds."""
        held: list[tuple[str, str]] = []
        with suppress(redis.RedisError), self._client() as client:
            for _ in range(int(seconds / 0.2)):
                if ended.is_set():
                    break
                taken: Any = client.brpop(sorted(_QUEUES), timeout=0.2)
                if taken:
                    held.append((taken[0].decode(), taken[1].decode()))
        return held

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self._url, socket_timeout=5, socket_connect_timeout=2, client_name="chaos-wire")

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                self._hear()
            except (redis.RedisError, OSError, AttributeError):  # redis-py's parser, where it was cut in between
                self._ended.wait(0.1)

    def _hear(self) -> None:
        with self._client() as own, own.monitor() as monitor:
            mine = str(own.client_info()["addr"])
            while not self._ended.is_set():
                try:
                    line = monitor.connection.read_response(timeout=0.2)
                except redis.TimeoutError:
                    continue
                text = line.decode() if isinstance(line, bytes) else str(line)
                found = _pushed(text)
                if found is None or f" {mine}]" in text.split('"', 1)[0]:
                    continue
                self._note(own, found)

    def _note(self, own: redis.Redis, found: list[tuple[str, str]]) -> None:
        self.heard = [*self.heard, *found][-_KEPT:]
        if self.repeats:
            for queue, message in found:
                own.lpush(queue, message)
                self.repeated += 1


def _pushed(line: str) -> list[tuple[str, str]] | None:
    """The messages of one line of MONITOR: `1700000000.1 [0 127.0.0.1:5000] "LPUSH" "orders" "{...}"`."""
    _, found, command = line.partition('] "')
    if not found or not command.lower().startswith('lpush" "'):
        return None
    words = _words('"' + command)
    return [(words[1], text) for text in words[2:]] if words[1] in _QUEUES else None


def _words(command: str) -> list[str]:
    """The arguments of a command as MONITOR quotes them, which is nearly JSON."""
    words: list[str] = []
    rest = command.replace("\\x", "\\u00")
    decoder = json.JSONDecoder(strict=False)
    while rest:
        word, end = decoder.raw_decode(rest)
        words.append(word)
        rest = rest[end:].lstrip()
    return words


def an_hour_late(message: str, *, without_end: bool) -> str:
    """A message as it is an hour after it was sent.

    Args:
        message: as it was sent.
        without_end: it was sent to count for ever, as another application's may be.
    """
    sent = json.loads(message)
    expires = sent["headers"].get("expires")
    if expires is not None:
        sent["headers"]["expires"] = None if without_end else (datetime.fromisoformat(expires) - HOUR).isoformat()
    if without_end:
        sent["properties"].pop("expiration", None)
    return json.dumps(sent)


def jumbled(messages: list[tuple[str, str]], dice: Random) -> list[tuple[str, str]]:
    """Messages an hour late, in another order; some without an end."""
    late = [(queue, an_hour_late(text, without_end=dice.random() < 0.4)) for queue, text in messages]
    dice.shuffle(late)
    return late
