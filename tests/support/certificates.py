"""A private authority, and a certificate of it for a server on this machine."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM.

    Attributes:
        authority: what a client has to trust.
        certificate: the server's.
        key: the server's.
    """

    authority: Path
    certificate: Path
    key: Path


def make_certificates(directory: Path, names: Iterable[str] = ()) -> Certificates:
    """An authority that nobody knows, and a certificate of it for 127.0.0.1, `localhost` and further names.

    Args:
        directory: where the files go.
        names: such as `*.s3.test`.
    """
    issuer_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, server = _name("an authority of the tests"), _name("a server of the tests")
    alternatives = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    named = [x509.DNSName(name) for name in ("localhost", *names)]
    authority = _builder(issuer, issuer, issuer_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    certificate = _builder(server, issuer, server_key.public_key()).add_extension(
        x509.SubjectAlternativeName([*alternatives, *named]), critical=False
    )
    made = Certificates(directory / "authority.pem", directory / "certificate.pem", directory / "key.pem")
    made.authority.write_bytes(authority.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    made.certificate.write_bytes(certificate.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - _DAY, now + _DAY)
