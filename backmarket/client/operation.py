"""What an operation of the API is, and the request that it becomes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from backmarket.client.arguments import UNSET, Attachment, Kind
from backmarket.client.multipart import encode_form
from backmarket.errors import InvalidArgument

JSON = "application/json"
JSON_OR_TEXT = f"{JSON}, text/plain;q=0.9"
"""For operations that the document lets answer in plain text: a strict server refuses others with 406."""

Answered = TypeVar("Answered")
Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
Place = Literal["path", "query", "body", "form"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that the document gives for one operation.

    Args:
        requests: maximum number in a window.
        seconds: length of the window.
        each: which requests count together: those of an `account`, or of an account in one `locale`.
    """

    requests: int
    seconds: float
    each: Literal["account", "locale"] = "account"


@dataclass(frozen=True, slots=True)
class Field:
    """One value that is sent with an operation.

    Args:
        place: where it goes; `form` is a multipart form.
        name: the document's.
        kind: of its values.
        argument: the method's name for it.
        required: whether it must be given.
        nullable: whether None empties it; otherwise None means not given.
    """

    place: Place
    name: str
    kind: Kind
    argument: str
    required: bool = False
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """The request for an operation."""

    path: str
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Operation(Generic[Answered]):
    """One operation of the API.

    Args:
        name: the method's.
        method: of HTTP.
        path: with the names of its parts in braces, as in the document.
        answer: the type of its answer; `type(None)`: the body says nothing.
        fields: values that are sent with it.
        id: the document's `operationId`, if any.
        sensitive: it counts against the limit of the sensitive operations, too.
        limits: of its own.
        key: field that identifies a row of a page; None: no field does.
        needs_any: at least one of the fields that aren't required must be given.
        counts_sku_lines: it counts against the account's hourly quota of SKU lines, too.
        read_back: the read that shows whether a write with a lost answer arrived.
        accept: media types of its answers, refusals included.
    """

    name: str
    method: Method
    path: str
    answer: type[Answered]
    fields: tuple[Field, ...] = ()
    id: str | None = None
    sensitive: bool = False
    limits: tuple[Limit, ...] = ()
    key: str | None = None
    needs_any: bool = False
    read_back: str = ""
    counts_sku_lines: bool = False
    accept: str = JSON

    @property
    def writes(self) -> bool:
        """Whether it may change something, so that it must never be resent on a guess."""
        return self.method != "GET"

    def request(self, values: Mapping[str, Any]) -> Request:
        """The request for these arguments.

        Args:
            values: by the method's names; None or `UNSET`: not given.

        Raises:
            InvalidArgument: if one is invalid; the text names it.
        """
        sent = {each: self._sent(each, values.get(each.argument, UNSET)) for each in self.fields}
        given = {each: value for each, value in sent.items() if value is not UNSET}
        if self.needs_any and all(each.required for each in given):
            names = ", ".join(each.argument for each in self.fields if not each.required)
            raise InvalidArgument(f"{self.name} needs at least one of these arguments: {names}.")
        body, content_type = self._body(given)
        query = _texts((each, value) for each, value in given.items() if each.place == "query")
        return Request(self._path(given), tuple(query), body, content_type)

    def _sent(self, each: Field, value: Any) -> Any:
        if value is None and each.nullable:
            return None
        if value is UNSET or value is None:
            if each.required:
                raise InvalidArgument(f"{self.name} needs the argument {each.argument}.")
            return UNSET
        try:
            return each.kind.sent(value)
        except ValueError as error:
            raise InvalidArgument(f"The argument {each.argument} of {self.name} {error}.") from None

    def _path(self, given: Mapping[Field, Any]) -> str:
        parts = {each.name: str(value) for each, value in given.items() if each.place == "path"}
        for each in given:
            if each.place == "path" and parts[each.name] in {"", ".", ".."}:
                raise InvalidArgument(f"The argument {each.argument} of {self.name} is no id.")
        return re.sub(r"{(\w+)}", lambda match: quote(parts[match[1]], safe=""), self.path)

    def _body(self, given: Mapping[Field, Any]) -> tuple[bytes | None, str]:
        places = {each.place for each in self.fields}
        if "form" in places:
            try:
                return encode_form(_parts((each, value) for each, value in given.items() if each.place == "form"))
            except ValueError as error:
                raise InvalidArgument(f"A file given to {self.name} {error}.") from None
        if "body" not in places:
            return None, JSON
        value = {each.name: value for each, value in given.items() if each.place == "body"}
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), JSON


def _texts(given: Iterable[tuple[Field, Any]]) -> list[tuple[str, str]]:
    """Names and values as texts, a list as one for each of its items."""
    return [
        (each.name, str(one).lower() if isinstance(one, bool) else str(one))
        for each, value in given
        for one in (value if isinstance(value, list) else [value])
    ]


def _parts(given: Iterable[tuple[Field, Any]]) -> list[tuple[str, str | Attachment]]:
    parts: list[tuple[str, str | Attachment]] = []
    for each, value in given:
        files = isinstance(value, list) and all(isinstance(one, Attachment) for one in value)
        parts += [(each.name, file) for file in value] if files else _texts([(each, value)])
    return parts


def _place(place: Place, name: str, kind: Kind, argument: str | None, **more: Any) -> Field:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    return Field(place, name, kind, argument or snake, **more)


def path(name: str, kind: Kind, argument: str | None = None) -> Field:
    """A part of the path."""
    return _place("path", name, kind, argument, required=True)


def query(name: str, kind: Kind, argument: str | None = None) -> Field:
    """A parameter of the query."""
    return _place("query", name, kind, argument)


def body(
    name: str, kind: Kind, argument: str | None = None, *, required: bool = False, nullable: bool = False
) -> Field:
    """A member of a JSON body."""
    return _place("body", name, kind, argument, required=required, nullable=nullable)


def form(name: str, kind: Kind, argument: str | None = None, *, required: bool = False) -> Field:
    """A field of a multipart form."""
    return _place("form", name, kind, argument, required=required)
