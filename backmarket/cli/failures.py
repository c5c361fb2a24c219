"""How an error is reported: a sentence on standard error, and the exit code (see the package's docstring)."""

from __future__ import annotations

import json
from typing import Any, Final

import typer

from backmarket import errors
from backmarket.cli.output import describe, note, printable
from backmarket.errors import BackMarketError

INTERRUPTED: Final = 130

AS_JSON: Final = "backmarket.json"
"""Key in a context's `meta` that says that `--json` was given."""

_EXIT_CODES: Final[dict[type[BaseException], int]] = {
    BackMarketError: 1,
    errors.UsageError: 2,
    errors.BulkJobNotFound: 3,
    errors.ConnectionNotFound: 3,
    errors.ConnectionDisabled: 4,
    errors.ApiKeyMissing: 4,
    errors.ConnectionUnauthorized: 4,
    errors.Unauthorized: 4,
    errors.BrokerUnavailable: 5,
    errors.DatabaseUnavailable: 5,
    errors.LimiterUnavailable: 5,
    errors.BucketUnavailable: 5,
    errors.LabelNotFound: 3,
    errors.NotStoredYet: 3,
    errors.WriteNotFound: 3,
    errors.WaitTimeout: 6,
}


class NotStored(errors.UsageError):
    """The connection exists, but not the row."""

    code = "not_stored"


_EXIT_CODES[NotStored] = 3


def exit_code(error: BackMarketError) -> int:
    """The exit code of an error: that of the nearest of its classes."""
    return next(_EXIT_CODES[kind] for kind in type(error).__mro__ if kind in _EXIT_CODES)


def as_document(error: BackMarketError) -> dict[str, Any]:
    """An error as JSON."""
    return {
        "code": error.code,
        "message": error.message,
        "status": error.status,
        "request_id": error.request_id,
        "cf_ray": error.cf_ray,
    }


def fail(context: typer.Context, error: BackMarketError) -> typer.Exit:
    """Report an error; the caller raises the result.

    Args:
        context: says whether `--json` was given.
        error: the error to report.
    """
    if context.meta.get(AS_JSON):
        note(json.dumps({"error": as_document(error)}))
    else:
        note(f"Error: {describe(error)}")
    return typer.Exit(exit_code(error))


def check_arguments(arguments: list[str]) -> None:
    """Refuse arguments that are not text before they reach a database.

    Raises:
        typer.BadParameter: if an argument is not valid in the terminal's encoding.
    """
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise typer.BadParameter(f"{printable(argument)} is not valid text in this terminal's encoding.")
