"""What several threads have to say at the same time, said by one of them in one go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Hands on what threads bring; while one hands on, the others leave theirs with it and go.

    A thread that is alone waits for no one, and hands on at once.

    Args:
        hand_on: takes what has come together; called by one thread at a time.
    """

    def __init__(self, hand_on: Callable[[Sequence[T]], None]) -> None:
        self._hand_on = hand_on
        self._lock = threading.Lock()
        self._waiting: list[T] = []
        self._busy = False

    def bring(self, items: Sequence[T]) -> None:
        """Hand something on, or leave it with the thread that is at it.

        Raises:
            Exception: what `hand_on` raises, to the thread that called it.
        """
        with self._lock:
            self._waiting += items
            if self._busy:
                return
            self._busy = True
        while taken := self._take():
            try:
                self._hand_on(taken)
            except BaseException:
                with self._lock:
                    self._busy = False
                raise

    def _take(self) -> list[T]:
        with self._lock:
            taken, self._waiting = self._waiting, []
            self._busy = bool(taken)
            return taken
