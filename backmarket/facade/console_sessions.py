"""Sessions of the console."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket.audit import Act, record
from backmarket.database import console_sessions
from backmarket.database.console_sessions import ConsoleSession
from backmarket.facade.part import FacadePart


class ConsoleSessions(FacadePart):
    """The methods of `BackMarket` for the console's sessions."""

    def get_console_sessions(self) -> list[ConsoleSession]:
        """The sessions that have not ended, the last used first."""
        return console_sessions.open_sessions(self._services.database)

    def end_console_sessions(self, person: str | None = None) -> int:
        """End sessions for good: their people have to log in again.

        Args:
            person: whose sessions end; None: everybody's.

        Returns:
            The number of sessions that ended.
        """
        with self._services.database.transaction() as transaction:
            ended = console_sessions.end_all(transaction, person)
            record(transaction, Act("console.end_sessions", kind="person", object_id=person, details={"ended": ended}))
        return ended

    def start_console_session(
        self,
        token: str,
        *,
        person: str,
        role: str,
        proved_by: str,
        credential: str,
        client_address: str,
        seconds: float,
        replaces: str,
    ) -> None:
        """Start a session; for the console, which has authenticated the person.

        Args:
            token: the browser's new token, of which only a hash is stored.
            person: the person's name.
            role: `viewer` or `operator`.
            proved_by: `password` or `oidc`.
            credential: a keyed hash of what gave the role.
            client_address: the address of the person's machine.
            seconds: time after which the session ends.
            replaces: the browser's token before the login; its session ends.
        """
        console_sessions.start(
            self._services.database,
            token,
            person=person,
            role=role,
            proved_by=proved_by,
            credential=credential,
            client_address=client_address,
            seconds=seconds,
            replaces=replaces,
        )

    def use_console_session(self, token: str, credentials: Sequence[str]) -> ConsoleSession | None:
        """The session of a browser, which is noted as used; None: it has not logged in.

        Args:
            token: the browser's token.
            credentials: those that are valid now. A session with another one ends for good.
        """
        return console_sessions.use(self._services.database, token, credentials)

    def end_console_session(self, token: str) -> None:
        """End the session of a browser for good.

        Args:
            token: the browser's token.
        """
        console_sessions.end(self._services.database, token)
