"""Submitted forms, read within bounds; the time that they may take is `http_protocol`'s."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from backmarket.console.numbers import whole_number

MAX_FORM_BYTES = 256 * 1024
"""Maximum size of a form without a file, in bytes."""
MAX_FIELDS = 100
"""Maximum number of a form's fields."""


@asynccontextmanager
async def read_form(
    request: Request, *, max_bytes: int = MAX_FORM_BYTES, max_files: int = 0, max_fields: int = MAX_FIELDS
) -> AsyncIterator[FormData]:
    """The form of a request; its temporary files are deleted at the end.

    Args:
        request: a POST.
        max_bytes: maximum size of the body. A body without a declared length is refused; uvicorn enforces the length.
        max_files: maximum number of files.
        max_fields: maximum number of fields.

    Raises:
        HTTPException: if the form is too large, has no length, is malformed or does not arrive.
    """
    length = whole_number(request.headers.get("content-length"))
    if length is None or length > max_bytes:
        most = f"{max_bytes // 1024**2} MB" if max_bytes >= 1024**2 else f"{max_bytes // 1024} KB"
        raise HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request is too large: it may have at most {most}."
        )
    try:
        form = await request.form(max_files=max_files, max_fields=max_fields)
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The form did not arrive.") from None
    try:
        yield form
    finally:
        await form.close()
