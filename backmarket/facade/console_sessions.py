"""Sessions of the console, and what its users save there."""

from __future__ import annotations

from collections.abc import Sequence

from backmarket.audit import Act, Outcome, record
from backmarket.database import console_sessions, console_views
from backmarket.database.console_sessions import ConsoleSession, Lifetime, NewSession
from backmarket.database.console_views import ConsoleView
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

    def start_console_session(self, token: str, new: NewSession, lifetime: Lifetime, *, replaces: str) -> None:
        """Start a session; for the console, which has authenticated the person.

        Args:
            token: the browser's new token, of which only a hash is stored.
            new: the session.
            lifetime: how long it lasts.
            replaces: the browser's token before the login; its session ends.
        """
        details = {"role": new.role, "proved_by": new.proved_by}
        with self._services.database.transaction() as transaction:
            console_sessions.start(transaction, token, new, lifetime, replaces=replaces)
            record(transaction, Act("console.login", kind="person", object_id=new.person, details=details))

    def use_console_session(
        self, token: str, credentials: Sequence[str], lifetime: Lifetime, *, by_person: bool
    ) -> ConsoleSession | None:
        """The session of a browser; None: it has not logged in.

        Args:
            token: the browser's token.
            credentials: those that are valid now. A session with another one ends for good.
            lifetime: how long a session lasts.
            by_person: whether the person uses it, which is noted; otherwise a page refreshes itself.
        """
        return console_sessions.use(self._services.database, token, credentials, lifetime, by_person=by_person)

    def end_console_session(self, token: str, person: str | None = None) -> None:
        """End the session of a browser for good.

        Args:
            token: the browser's token.
            person: who logs out.
        """
        with self._services.database.transaction() as transaction:
            if console_sessions.end(transaction, token):
                record(transaction, Act("console.logout", kind="person", object_id=person))

    def get_console_views(self, person: str) -> list[ConsoleView]:
        """The filters that a person has saved, by name."""
        return console_views.of_person(self._services.database, person)

    def save_console_view(self, person: str, name: str, query: str) -> None:
        """Save filters under a name, which replaces the ones before.

        Args:
            person: the person who saves them.
            name: 1 to 60 printable characters.
            query: the filters, as in the address of the page.

        Raises:
            InvalidArgument: if the name or the query is invalid, or the person has saved too many.
        """
        console_views.save(self._services.database, person, name, query)

    def remove_console_view(self, person: str, name: str) -> None:
        """Remove saved filters; none under that name: nothing happens."""
        console_views.remove(self._services.database, person, name)

    def record_console_refusal(self, act: Act, code: str) -> None:
        """Record that the console refused a login or an act; for the console, which bounds their number.

        Args:
            act: what was refused.
            code: the reason.
        """
        with self._services.database.transaction() as transaction:
            record(transaction, act, Outcome.REFUSED, code)
