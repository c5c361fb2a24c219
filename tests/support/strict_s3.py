"""A strict S3 server for tests: a proxy before SeaweedFS that refuses what MinIO and AWS refuse and SeaweedFS accepts.

`StrictS3` starts the proxy, a process of its own: the tests fork, and measure their own memory. The proxy hands bytes
on as they come, the `Host` header too, for which requests are signed. It reads requests only as far as a rule needs
it, and copies answers unread. The file runs by itself, with the standard library alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import re
import socket
import struct
import subprocess
import sys
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

REGION = "us-east-1"
MAX_KEY_BYTES = 1024
"""S3's rule."""
MAX_SEGMENT_BYTES = 255
"""Between two slashes; the rule of the file systems under MinIO."""
MAX_LINK_SECONDS = 604_800
"""Seconds."""
CHECKSUM_BYTES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}

HELD = 64 * 1024
"""Bytes of a request that are collected before they are handed on; a smaller one goes whole, or not at all."""

_UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_WITHOUT_HASH = {"UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SCOPE = re.compile(r"[^/]+/\d{8}/([^/]*)/s3/aws4_request")


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error of S3."""

    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Request:
    """The head of a request.

    Attributes:
        target: path and query, as sent.
        headers: by their names in lower case.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def bucket(self) -> str:
        return self._parts[0].decode(errors="replace")

    @property
    def key(self) -> bytes:
        """Decoded; empty: the request is for the bucket."""
        return self._parts[1]

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(f"//host{self.target}").query, keep_blank_values=True)

    def asked(self, name: str) -> str | None:
        """A value of the query."""
        return next((value for key, value in self.query if key == name), None)

    @property
    def _parts(self) -> tuple[bytes, bytes]:
        bucket, _, key = unquote_to_bytes(self.target.partition("?")[0].removeprefix("/")).partition(b"/")
        return bucket, key


Rule = Callable[[Request], Refusal | None]


def bucket_is_named_well(request: Request) -> Refusal | None:
    name = request.bucket
    if not name or (_BUCKET_NAME.fullmatch(name) and ".." not in name and not _is_address(name)):
        return None
    return Refusal(400, "InvalidBucketName", "The specified bucket is not valid.")


def no_part_leads_elsewhere(request: Request) -> Refusal | None:
    """MinIO looks at every value of the query, too."""
    named = [request.key, *(value.encode() for _, value in request.query)]
    if any(part.strip() in {b".", b".."} for each in named for part in each.split(b"/")):
        return Refusal(400, "XMinioInvalidResourceName", "A part of the name is '.' or '..'.")
    return None


def key_has_no_empty_part(request: Request) -> Refusal | None:
    return _name_refused(request.key)


def prefix_has_no_empty_part(request: Request) -> Refusal | None:
    return _name_refused((request.asked("prefix") or "").encode())


def key_is_short_enough(request: Request) -> Refusal | None:
    if len(request.key) > MAX_KEY_BYTES or any(len(part) > MAX_SEGMENT_BYTES for part in request.key.split(b"/")):
        return Refusal(400, "KeyTooLongError", "Your key is too long.")
    return None


def header_names_the_region(request: Request) -> Refusal | None:
    if _signed_by_header(request) and _region(request.headers["authorization"]) != REGION:
        return Refusal(400, "AuthorizationHeaderMalformed", f"The region of the header is wrong; expecting '{REGION}'.")
    return None


def link_names_the_region(request: Request) -> Refusal | None:
    credential = request.asked("X-Amz-Credential")
    if credential is not None and _region(f"Credential={credential},") != REGION:
        text = f"The region of the X-Amz-Credential parameter is wrong; expecting '{REGION}'."
        return Refusal(400, "AuthorizationQueryParametersError", text)
    return None


def link_ends_within_a_week(request: Request) -> Refusal | None:
    expires = request.asked("X-Amz-Expires")
    if expires is not None and not (expires.isdecimal() and int(expires) <= MAX_LINK_SECONDS):
        text = f"X-Amz-Expires must be a number of seconds, at most {MAX_LINK_SECONDS}."
        return Refusal(400, "AuthorizationQueryParametersError", text)
    return None


def body_has_a_hash(request: Request) -> Refusal | None:
    if not _signed_by_header(request):
        return None
    told = request.headers.get("x-amz-content-sha256")
    if told is None:
        return Refusal(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256.")
    if told not in {*_WITHOUT_HASH, _UNSIGNED_CHUNKS} and not re.fullmatch("[0-9a-f]{64}", told):
        return Refusal(400, "InvalidArgument", "x-amz-content-sha256 is neither a hash nor a way of streaming.")
    return None


def chunks_are_signed(request: Request) -> Refusal | None:
    if request.headers.get("x-amz-content-sha256") == _UNSIGNED_CHUNKS:
        return Refusal(400, "InvalidRequest", f"{_UNSIGNED_CHUNKS} is not supported.")
    return None


def body_has_a_length(request: Request) -> Refusal | None:
    if request.method in {"PUT", "POST"} and not request.headers.get("content-length", "").isdecimal():
        return Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    return None


def checksums_are_known(request: Request) -> Refusal | None:
    algorithm = request.headers.get("x-amz-sdk-checksum-algorithm")
    if algorithm is not None and algorithm.lower() not in CHECKSUM_BYTES:
        return Refusal(400, "InvalidRequest", f"Checksum algorithm {algorithm} is not supported.")
    for name, value in request.headers.items():
        kind = name.removeprefix("x-amz-checksum-")
        if kind != name and kind not in {"mode", "algorithm", "type"} and not _is_checksum(kind, value):
            return Refusal(400, "InvalidRequest", f"Value for {name} header is invalid.")
    return None


def deletion_has_a_checksum(request: Request) -> Refusal | None:
    if request.method != "POST" or request.asked("delete") is None:
        return None
    if "content-md5" in request.headers or any(f"x-amz-checksum-{kind}" in request.headers for kind in CHECKSUM_BYTES):
        return None
    return Refusal(400, "MissingContentMD5", "Missing required header for this request: Content-Md5.")


RULES: tuple[Rule, ...] = (
    bucket_is_named_well,
    no_part_leads_elsewhere,
    key_has_no_empty_part,
    prefix_has_no_empty_part,
    key_is_short_enough,
    header_names_the_region,
    link_names_the_region,
    link_ends_within_a_week,
    body_has_a_hash,
    chunks_are_signed,
    body_has_a_length,
    checksums_are_known,
    deletion_has_a_checksum,
)
"""What the head of a request must hold to, the first that it breaks decides."""


def refused(request: Request, rules: Iterable[Rule] = RULES) -> Refusal | None:
    """Why a request is refused; None: it passes."""
    return next((refusal for rule in rules if (refusal := rule(request))), None)


def body_refused(request: Request, digest: str) -> Refusal | None:
    """Why a request is refused for its body, whose SHA-256 is known only now."""
    told = request.headers.get("x-amz-content-sha256")
    if not _signed_by_header(request) or told is None or told in _WITHOUT_HASH or told == digest:
        return None
    return Refusal(400, "XAmzContentSHA256Mismatch", "The x-amz-content-sha256 header is not the body's hash.")


def policy_refused(request: Request, body: bytes) -> Refusal | None:
    """MinIO takes no policy with an action that none of the statement's resources can have."""
    if request.method != "PUT" or request.asked("policy") is None or request.key:
        return None
    try:
        fits = all(map(_statement_fits, json.loads(body)["Statement"]))
    except (ValueError, KeyError, TypeError):
        fits = False
    return None if fits else Refusal(400, "MalformedPolicy", "Policy has invalid resource.")


def _statement_fits(statement: dict[str, object]) -> bool:
    actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
    for action in actions:
        about_objects = "Object" in action and not action.endswith("Uploads")
        if action != "s3:*" and not any(("/" in resource) == about_objects for resource in resources):
            return False
    return True


def _listed(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value]  # type: ignore[attr-defined]


def _name_refused(name: bytes) -> Refusal | None:
    try:
        name.decode()
    except UnicodeDecodeError:
        good = False
    else:
        good = not name.startswith(b"/") and b"//" not in name and b"\0" not in name
    return None if good else Refusal(400, "XMinioInvalidObjectName", "Object name contains unsupported characters.")


def _signed_by_header(request: Request) -> bool:
    return request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256")


def _region(text: str) -> str | None:
    """The region of `Credential=...`; other malformed credentials are the server's to refuse."""
    scope = re.search(r"Credential=([^,\s]+)", text)
    found = _SCOPE.fullmatch(scope[1]) if scope else None
    return found[1] if found else REGION


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False


def _is_checksum(kind: str, value: str) -> bool:
    with suppress(Base64Error, ValueError):
        return len(b64decode(value, validate=True)) == CHECKSUM_BYTES.get(kind)
    return False


class _Behind(asyncio.Protocol):
    """The connection to the server behind the proxy: what it answers is handed to the client unread."""

    def __init__(self, front: _Front) -> None:
        self._front = front

    def data_received(self, data: bytes) -> None:
        self._front.answer(data)

    def pause_writing(self) -> None:
        self._front.pause_client()

    def resume_writing(self) -> None:
        self._front.resume_client()

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.lose_server()


class _Front(asyncio.Protocol):
    """The connection of a client: its requests are checked one after the other, and handed on.

    Args:
        server: host and port of the server behind.
    """

    _client: asyncio.Transport

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._behind: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._came = bytearray()  # and was not looked at
        self._request: Request | None = None  # None: its head has not come yet
        self._held = bytearray()  # of the request, and not handed on yet
        self._head_bytes = 0  # that `_held` begins with; 0: they are handed on
        self._left = 0  # bytes of the body that have not come yet
        self._hash = hashlib.sha256()
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._client = transport
        transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        """Where the server is away, so is the proxy: the client's connection is reset."""
        try:
            behind, _ = await asyncio.get_running_loop().create_connection(lambda: _Behind(self), *self._server)
        except OSError:
            self._reset()
            return
        self._behind = behind
        if self._client.is_closing():
            behind.abort()
        else:
            self._client.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._came += data
        try:
            while self._take_head() and self._take_body():
                pass
        except ValueError:  # it is no HTTP
            self._reset()

    def _take_head(self) -> bool:
        """Check a request's head; False: it has not all come."""
        if self._request is not None:
            return True
        end = self._came.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        head = bytes(self._came[:end])
        del self._came[:end]
        self._request = request = _parsed(head)
        length = request.headers.get("content-length", "")
        self._left = int(length) if length.isdecimal() else 0
        self._hash = hashlib.sha256()
        if refusal := refused(request):
            self._refuse(request, refusal)
        else:
            self._held += head
            self._head_bytes = end
            if "expect" in request.headers:  # the body comes only when the server has asked for it
                self._hand_on()
        return True

    def _take_body(self) -> bool:
        """Hand on what came of a request's body; False: the next request has not begun."""
        assert self._request is not None
        piece = self._came[: self._left]
        del self._came[: len(piece)]
        self._left -= len(piece)
        if self._refused:
            if not self._left:
                self._client.close()
            return False
        self._hash.update(piece)
        self._held += piece
        if self._left:
            if len(self._held) > HELD:
                self._hand_on()
            return False
        refusal = body_refused(self._request, self._hash.hexdigest())
        if not refusal and self._head_bytes:
            refusal = policy_refused(self._request, bytes(self._held[self._head_bytes :]))
        if refusal:
            self._refuse(self._request, refusal)
            self._client.close()
            return False
        self._hand_on()
        self._request = None
        return True

    def _hand_on(self) -> None:
        if self._behind and not self._behind.is_closing():
            self._behind.write(bytes(self._held))
        self._held.clear()
        self._head_bytes = 0

    def _refuse(self, request: Request, refusal: Refusal) -> None:
        """Answer with an error; the server never gets the end of the request, so it does nothing."""
        self._refused = True
        if self._behind:
            self._behind.abort()
        self._client.write(_answer(request, refusal))

    def _reset(self) -> None:
        linger_not = struct.pack("ii", 1, 0)
        self._client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self._client.abort()

    def answer(self, data: bytes) -> None:
        """What the server sent."""
        if not self._refused:
            self._client.write(data)

    def lose_server(self) -> None:
        """The server closed its connection, or is gone."""
        if not self._refused:
            self._client.close()

    def pause_client(self) -> None:
        """The server takes no more at the moment."""
        self._client.pause_reading()

    def resume_client(self) -> None:
        """The server takes more again."""
        self._client.resume_reading()

    def pause_writing(self) -> None:
        if self._behind:
            self._behind.pause_reading()

    def resume_writing(self) -> None:
        if self._behind:
            self._behind.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._behind:
            self._behind.abort()


def _parsed(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Request(method, target, {name.strip().lower(): value.strip() for name, _, value in pairs})


def _answer(request: Request, refusal: Refusal) -> bytes:
    key, bucket = escape(request.key.decode(errors="replace")), escape(request.bucket)
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refusal.code}</Code>'
        f"<Message>{escape(refusal.message)}</Message><Key>{key}</Key><BucketName>{bucket}</BucketName>"
        f"<Resource>{escape(request.target.partition('?')[0])}</Resource><RequestId>strict</RequestId></Error>"
    ).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.code}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if request.method == "HEAD" else head + body


class StrictS3:
    """The proxy, as a process that ends with this one. A context manager.

    Args:
        behind: the URL of the server behind, `http://HOST:PORT`; it may stop and come back.
    """

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> StrictS3:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", Path(__file__).resolve(), self._behind],
            stdin=subprocess.PIPE,  # its end, however that comes about, is the proxy's
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout
        self.url = self._process.stdout.readline().decode().strip()
        assert self.url, "the strict S3 proxy did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        self._process.communicate(timeout=10)


async def _serve(behind: str) -> None:
    at = urlsplit(behind)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Front((at.hostname or "", at.port or 80)), "127.0.0.1", 0, backlog=512)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201
    await over.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
