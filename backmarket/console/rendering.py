"""The templates, and how they show figures, times and states."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from http import HTTPStatus
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from backmarket.console import paths
from backmarket.console.access.auth import Auth
from backmarket.console.access.users import Person
from backmarket.console.choices import ONE_OF, VERBS
from backmarket.console.sparkline import in_words, sparkline, worst
from backmarket.observability.durations import duration
from backmarket.observability.numbers import noun_of
from backmarket.status.lag_history import LagSample

_NAME = ("firstName", "lastName")
_ADDRESS = (
    ("company",),
    _NAME,
    ("street",),
    ("street2",),
    ("postalCode", "city"),
    ("state",),
    ("country",),
    ("phoneNumber",),
    ("email",),
)
DASH = "\N{EN DASH}"
"""Shown where there is no value."""
_MOMENTS = re.compile(
    r"([12]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]) (?:[01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?) UTC", re.ASCII
)
STATIC = resources.files("backmarket.console") / "static"


@dataclass
class Said:
    """A message of the request before, which stands once in a page: beside its form, or at the top.

    Attributes:
        text: the message.
        bad: it says why something was not done.
        about: name of the form that it is about.
        is_placed: it stands beside the form.
    """

    text: str
    bad: bool
    about: str | None = None
    is_placed: bool = False

    def place(self, name: str) -> bool:
        """Whether the message is about this form."""
        self.is_placed = self.is_placed or self.about == name
        return self.about == name


class Pages:
    """Renders the templates; all values are escaped.

    Args:
        auth: makes the CSRF tokens of forms.
    """

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._environment = Environment(
            loader=PackageLoader("backmarket.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            span=span,
            moment=moment,
            money=money,
            on_page=on_page,
            says=says,
            count=count,
            counted=counted,
            words=words,
            part=paths.segment,
            address=address,
            parcel_address=parcel_address,
            customer=customer,
        )
        self._environment.globals.update(
            asset=_asset,
            at=paths.organization,
            fresh=lambda: secrets.token_urlsafe(12),
            in_words=_in_words,
            now=_now,
            one_of=ONE_OF,
            query=paths.with_query,
            sparkline=sparkline,
            verbs=VERBS,
        )

    def render(
        self, request: Request, template: str, *, status: int = HTTPStatus.OK, person: Person | None, **values: Any
    ) -> Response:
        """A page, or a part of one.

        Args:
            request: the request that is answered.
            template: the template's name.
            status: the HTTP status.
            person: the user who sees it.
            **values: values for the template.
        """
        said = request.session.pop("said", None) if "hx-request" not in request.headers else None
        said = Said(**said) if said else None
        text = self._environment.get_template(template).render(
            {
                "person": person,
                "token": self._auth.token(request),
                "said": said,
                "this_page": paths.of_request(request),
                "logs_in": self._auth.has_login,
                "inbox": 0,
                "waits_here": 0,
            }
            | values
        )
        return HTMLResponse(text, status)

    def refuse(self, request: Request, person: Person | None, status: int, why: str) -> Response:
        """A page, or a line in one, that says why a request was refused."""
        template = "_failed.html" if request.headers.get("hx-request") == "true" else "error.html"
        return self.render(request, template, status=status, person=person, code=int(status), why=why)


def span(seconds: float | None) -> str:
    """A length of time in its largest unit, such as `2 min`; None: a dash."""
    return DASH if seconds is None else duration(seconds)


def moment(at: datetime | None, none: str = DASH) -> Markup | str:
    """A moment, which the browser shows in the user's time zone; None: the given text."""
    if at is None:
        return none
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M")
    )


def says(text: str | None) -> Markup:
    """A sentence of the application, with its moments in the user's time zone; None: nothing."""

    def as_time(found: re.Match[str]) -> str:
        try:
            at = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
        except ValueError:  # a date that does not exist, such as the 31st of a shorter month
            return found[0]
        return f'<time datetime="{at.isoformat()}">{found[0]}</time>'

    return Markup(_MOMENTS.sub(as_time, str(escape(text or ""))))  # noqa: S704 - escaped; only times are inserted


def money(amount: Decimal | None, currency: str | None) -> str:
    """An amount with its currency; None: a dash."""
    return DASH if amount is None else f"{amount:,.2f} {currency or ''}".strip().replace(",", "\u202f")


def count(number: int | None) -> str:
    """A number in readable form; None: a dash."""
    return DASH if number is None else f"{number:,}".replace(",", "\u202f")


def counted(number: int, noun: str, several: str | None = None) -> str:
    """A number of things in readable form, such as `1 line`; see `observability.numbers`."""
    return f"{count(number)} {noun_of(number, noun, several)}"


def on_page(text: str) -> str:
    """A text of a file's check in the words of the page that shows it: its labels, without the command's options."""
    return _OPTIONS.sub("", text).replace("; nothing was sent", "")


_OPTIONS = re.compile(r" in the console, --[a-z-]+(?: and --[a-z-]+)*")


def words(value: Any) -> str:
    """A state's name; an unknown state's number."""
    if value is None:
        return DASH
    text = (value.name if isinstance(value, IntEnum) else str(value)).lower() if isinstance(value, Enum) else str(value)
    return f"state {value}" if isinstance(value, int) and not isinstance(value, IntEnum) else text.replace("_", " ")


def address(found: Mapping[str, Any]) -> list[str]:
    """The lines of an address as on a parcel (schema `Address`), without empty ones."""
    return [line for names in _ADDRESS if (line := _joined(found, names))]


def parcel_address(found: Mapping[str, Any]) -> list[str]:
    """The same for the outside of a parcel: without phone number and e-mail address."""
    return address({name: value for name, value in found.items() if name not in {"phoneNumber", "email"}})


def customer(found: Mapping[str, Any]) -> str:
    """The name in an address."""
    return _joined(found, _NAME)


def _joined(found: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(str(found[name]) for name in names if found.get(name))


def _in_words(samples: Sequence[LagSample], lag: float | None) -> str:
    return in_words(samples, lag, span(worst(samples, lag)))


def _now() -> datetime:
    return datetime.now(UTC)


def _asset(name: str) -> Markup:
    """The URL of a static file, which changes with its content: browsers may cache it."""
    return escape(f"/static/{name}?v={_VERSIONS[name]}")


_VERSIONS = {
    each.name: hashlib.sha256(each.read_bytes()).hexdigest()[:12] for each in STATIC.iterdir() if each.is_file()
}
