"""The context of an authenticated request, and how a page answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backmarket import errors
from backmarket.audit import Act, acting
from backmarket.console import paths
from backmarket.console.access.auth import CSRF_FIELD, CSRF_HEADER, Auth
from backmarket.console.access.users import Person
from backmarket.console.forms import MAX_FIELDS, MAX_FORM_BYTES, read_form
from backmarket.console.numbers import whole_number
from backmarket.console.rendering import Pages
from backmarket.errors import BackMarketError
from backmarket.facade import BackMarket
from backmarket.observability.logs import Logger

MAX_SAID_CHARS = 600
"""Maximum length of a message for the next page, in characters: it travels in a cookie."""
MAX_NAME_CHARS = 100
"""Maximum length of a form's name, in characters."""
NOT_CONNECTED = "No organization with this id is connected here."
"""What a page says in place of the package's text, which names the calls that connect one."""

log = Logger(__name__)

View = Callable[["RequestContext"], Response]


@dataclass
class RequestContext:
    """A request, in its own thread.

    Attributes:
        request: the request.
        bm: the object that the console reads and acts with.
        pages: the templates.
        person: the authenticated user.
        form: the submitted form; empty for a GET.
    """

    request: Request
    bm: BackMarket
    pages: Pages
    person: Person
    form: FormData = field(default_factory=FormData)

    @property
    def organization_id(self) -> str:
        """The id of the organization in the path.

        Raises:
            ConnectionNotFound: if the path names no valid organization id.
        """
        found = paths.organization_of(self.request.path_params["organization"])
        if found is None:
            raise errors.ConnectionNotFound("No organization has this address.")
        return found

    @property
    def is_partial(self) -> bool:
        """Whether htmx requests a part of a page."""
        return self.request.headers.get("hx-request") == "true"

    def number(self, name: str) -> int:
        """A number in the path."""
        number = whole_number(self.request.path_params[name])
        if number is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return number

    def asked(self, name: str) -> str | None:
        """A value of the query, stripped; None: missing or empty."""
        return self.request.query_params.get(name, "").strip() or None

    def given(self, name: str) -> str | None:
        """A value of the form, stripped; None: missing or empty."""
        value = self.form.get(name)
        return (value.strip() or None) if isinstance(value, str) else None

    def given_all(self, name: str) -> list[str]:
        """All values of the form under this name, in their order."""
        return [value for value in self.form.getlist(name) if isinstance(value, str)]

    def file(self, name: str) -> UploadFile | None:
        """A file of the form; None: no file was chosen."""
        value = self.form.get(name)
        return value if isinstance(value, UploadFile) and value.filename else None

    def render(self, template: str, *, status: int = HTTPStatus.OK, **values: Any) -> Response:
        """A page, or a part of one. A page shows how much waits for a person, of all and of its organization."""
        if not self.is_partial:
            values["inbox"] = self.bm.count_inbox()
            if connection := values.get("connection"):
                values["waits_here"] = self.bm.count_inbox(connection.organization_id)
        return self.pages.render(self.request, template, status=status, person=self.person, **values)

    def say(self, text: str, *, bad: bool = False, about: str | None = None) -> None:
        """Show a message on the next page.

        Args:
            text: the message.
            bad: it says why something was not done.
            about: name of the form beside whose button it stands; at the top, if the page has no such form.
        """
        self.request.session["said"] = {"text": text[:MAX_SAID_CHARS], "bad": bad, "about": about}

    def go_back(self, otherwise: str, refused: BackMarketError | None = None) -> Response:
        """Redirect to the page that sent the form.

        Args:
            otherwise: the page, if the form names none.
            refused: why nothing was done, to be said beside the form's button (`sent_from` of the templates).
        """
        back = paths.local(self.given("back") or otherwise)
        if refused is None:
            return self.go(back)
        self.say(str(refused), bad=True, about=(self.given("about") or "")[:MAX_NAME_CHARS])
        return self.go(back)

    def go(self, path: str) -> Response:
        """Redirect to a page, so that a reload repeats nothing."""
        return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def page(view: View) -> Callable[[Request], Awaitable[Response]]:
    """A page that changes nothing, for every authenticated user."""

    async def endpoint(request: Request) -> Response:
        person = await request.app.state.auth.identify(request)
        return _to_login(request) if person is None else await _answer(request, person, view)

    return endpoint


def action(
    view: View,
    *,
    max_bytes: Callable[[Request], int] | int = MAX_FORM_BYTES,
    max_fields: int = MAX_FIELDS,
    for_viewers: bool = False,
) -> Callable[[Request], Awaitable[Response]]:
    """A submitted form: it has our CSRF token, comes from an operator, and is not too large.

    Args:
        view: the function that handles it.
        max_bytes: maximum size of the form.
        max_fields: maximum number of its fields.
        for_viewers: it changes nothing, so that every authenticated user may send it.
    """

    async def endpoint(request: Request) -> Response:
        auth: Auth = request.app.state.auth
        person = await auth.identify(request)
        if person is None:
            return _to_login(request)
        pages: Pages = request.app.state.pages
        if not (person.is_operator or for_viewers):
            await run_in_threadpool(auth.refuse_act, request, person, _refused_act(request))
            why = "Your role is viewer. This needs the role operator."
            return pages.refuse(request, person, HTTPStatus.FORBIDDEN, why)
        async with read_form(
            request,
            max_bytes=max_bytes(request) if callable(max_bytes) else max_bytes,
            max_files=2,
            max_fields=max_fields,
        ) as form:
            token = request.headers.get(CSRF_HEADER) or form.get(CSRF_FIELD)
            if not (isinstance(token, str) and auth.is_ours(request, token)):
                why = "This form is too old, or did not come from the console. Reload the page and repeat it."
                return pages.refuse(request, person, HTTPStatus.FORBIDDEN, why)
            return await _answer(request, person, view, form)

    return endpoint


async def _answer(request: Request, person: Person, view: View, form: FormData | None = None) -> Response:
    state = request.app.state
    context = RequestContext(request, state.bm, state.pages, person, form or FormData())
    try:
        with acting(state.auth.actor(request, person)):
            return await run_in_threadpool(view, context)
    except BackMarketError as error:
        pages: Pages = state.pages
        why = NOT_CONNECTED if isinstance(error, errors.ConnectionNotFound) else str(error)
        return pages.refuse(request, person, status_of(error), why)


def _refused_act(request: Request) -> Act:
    organization = paths.organization_of(request.path_params.get("organization", ""))
    return Act("console.act", organization, details={"form": request.scope["route"].path})


def status_of(error: BackMarketError) -> HTTPStatus:
    """The HTTP status for an error."""
    if isinstance(error, errors.ConnectionNotFound | errors.BulkJobNotFound | errors.WriteNotFound):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, errors.LabelNotFound | errors.NotStoredYet | errors.EndpointNotFound):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, errors.SettingsError | errors.SchemaMissing):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, errors.UsageError):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(error, errors.TransientError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_GATEWAY


def _to_login(request: Request) -> Response:
    auth: Auth = request.app.state.auth
    if not auth.has_login:
        pages: Pages = request.app.state.pages
        return pages.refuse(
            request, None, HTTPStatus.FORBIDDEN, "Log in at the proxy. This console accepts no other login."
        )
    if request.headers.get("hx-request") == "true":  # htmx then loads the whole page, which redirects to the login
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Refresh": "true"})
    wanted = paths.of_request(request) if request.method == "GET" else "/"
    return RedirectResponse(paths.with_query("/login", {"next": wanted}), HTTPStatus.SEE_OTHER)
