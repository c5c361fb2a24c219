"""VersityGW, an S3 server over a directory: a Go module, which is built once."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import urllib3

from backmarket.standalone.embedded.ports import LOOPBACK, free_ports
from tests.servers.run import CACHE, NotHad
from tests.servers.s3.place import DOMAIN, Place, User
from tests.servers.s3.restricted import allow_one_bucket
from tests.support.certificates import Certificates

VERSION = "v1.8.0"
MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
START_SECONDS = 60.0


def program() -> Path:
    """Where the program is, which is built if it is not there.

    Raises:
        NotHad: if it cannot be built.
    """
    directory = CACHE / f"versitygw-{VERSION}"
    found = directory / "versitygw"
    if not found.exists():
        if not shutil.which("go"):
            raise NotHad("there is no Go here, which builds it")
        directory.mkdir(parents=True, exist_ok=True)
        built = subprocess.run(
            ["go", "install", MODULE], check=False, env=os.environ | {"GOBIN": str(directory)}, capture_output=True
        )
        if built.returncode:
            raise NotHad(f"go install failed: {built.stderr.decode(errors='replace').strip()[-300:]}")
    return found


@contextmanager
def running(certificates: Certificates | None) -> Iterator[Place]:
    """A server.

    Args:
        certificates: of its own; None: it speaks no TLS.
    """
    command = program()
    (port,) = free_ports(1)
    url = f"{'https' if certificates else 'http'}://{LOOPBACK}:{port}"
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    with tempfile.TemporaryDirectory(prefix="backmarket-versitygw.") as name:
        directory = Path(name)
        arguments = [command, *_options(directory, port, certificates)]
        environment = os.environ | {"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait(process, url, directory / "log")
            place = Place(
                url, access, secret, domain=DOMAIN, authority=certificates.authority if certificates else None
            )
            yield place.with_user(_user(command, place))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _options(directory: Path, port: int, certificates: Certificates | None) -> Sequence[str | Path]:
    for each in ("iam", "data", "versions"):
        (directory / each).mkdir()
    options: list[str | Path] = ["--quiet", "--port", f"{LOOPBACK}:{port}", "--health", "/health"]
    options += ["--iam-dir", directory / "iam", "--virtual-domain", f"{DOMAIN}:{port}"]
    if certificates:
        options += ["--cert", certificates.certificate, "--key", certificates.key]
    return [*options, "posix", "--versioning-dir", directory / "versions", directory / "data"]


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = monotonic() + START_SECONDS
    with urllib3.PoolManager(cert_reqs="CERT_NONE", retries=False, timeout=2) as http:
        while True:
            with suppress(urllib3.exceptions.HTTPError):
                if http.request("GET", f"{url}/health").status == 200:
                    return
            if process.poll() is not None or monotonic() > until:
                raise RuntimeError(f"VersityGW does not answer: {log.read_text()[-2000:]}")
            sleep(0.05)


def _user(command: Path, place: Place) -> User:
    user = User("the-user-of-a-bucket", "the-secret-of-that-user", "backmarket-test-user")
    admin = [str(command), "admin", "--allow-insecure", "--endpoint-url", place.endpoint_url, "create-user"]
    keys = ["--access", user.access_key, "--secret", user.secret_key, "--role", "user"]
    told = {"ADMIN_ACCESS_KEY": place.access_key, "ADMIN_SECRET_KEY": place.secret_key}
    subprocess.run([*admin, *keys], check=True, env=os.environ | told, capture_output=True)
    allow_one_bucket(place, user)
    return user
