"""Sessions of the console."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket.audit import Act, record
from backmarket.database import console_sessions
from backmarket.database.console_sessions import ConsoleSession, NewSession
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

    def start_console_session(self, token: str, new: NewSession, *, replaces: str) -> None:
        """Start a session; for the console, which has authenticated the person.

        Args:
            token: the browser's new token, of which only a hash is stored.
            new: the session.
            replaces: the browser's token before the login; its session ends.
        """
        console_sessions.start(self._services.database, token, new, replaces=replaces)

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
