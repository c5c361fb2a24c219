"""Connections under TLS: certificates are checked in both directions."""

from __future__ import annotations

from pathlib import Path

from tests.servers.redis.server import RedisServer
from tests.servers.redis.town import asked
from tests.support.certificates import Authority


def test_a_certificate_of_another_name_is_refused_and_one_of_the_client_is_sent(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    for address, reached in (("127.0.0.2", (0, False, False)), ("127.0.0.1", (1, True, True))):
        made = ours.sign(address)
        options = (f"tls-cert-file {made.certificate}", f"tls-key-file {made.key}", f"tls-ca-cert-file {ours.file}")
        with RedisServer(tmp_path / address, "tls-auth-clients yes", *options) as server:
            url = f"{server.url()}?ssl_ca_certs={ours.file}&ssl_certfile={made.certificate}&ssl_keyfile={made.key}"
            assert asked(url) == reached
            assert asked(f"{server.url()}?ssl_ca_certs={ours.file}") == (0, False, False)
