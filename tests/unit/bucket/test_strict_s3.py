"""The strict S3 proxy of the tests: each rule refuses what MinIO or AWS refuses, and nothing else does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from tests.support import strict_s3
from tests.support.strict_s3 import (
    MAX_KEY_BYTES,
    MAX_LINK_SECONDS,
    MAX_SEGMENT_BYTES,
    RULES,
    Request,
    Rule,
    body_refused,
    policy_refused,
    refused,
)

BODY = b"a label"
SHA256 = hashlib.sha256(BODY).hexdigest()
SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=key/20261128/us-east-1/s3/aws4_request, Signature=0",
    "x-amz-content-sha256": SHA256,
    "content-length": str(len(BODY)),
}
ELSEWHERE = {"authorization": SIGNED["authorization"].replace("us-east-1", "eu-west-3")}
LINK = "/bucket/key?X-Amz-Credential=key%2F20261128%2F{}%2Fs3%2Faws4_request&X-Amz-Expires={}"


def request_of(method: str, target: str, changed: Mapping[str, str | None]) -> Request:
    """A signed request whose headers differ; None: a header is not there."""
    headers = {**SIGNED, **changed}
    return Request(method, target, {name: value for name, value in headers.items() if value is not None})


CASES: list[tuple[Rule, int, str, str, str, Mapping[str, str | None]]] = [
    *(
        (strict_s3.bucket_is_named_well, 400, "InvalidBucketName", "PUT", f"/{name}", {})
        for name in ("ab", "A-Bucket", "a_bucket", "a" * 64, "-bucket", "bucket.", "a..bucket", "192.168.5.4")
    ),
    *(
        (strict_s3.no_part_leads_elsewhere, 400, "XMinioInvalidResourceName", "GET", target, {})
        for target in ("/bucket/a/../b", "/bucket/./a", "/bucket/a/%2E%2E", "/bucket?prefix=labels%2F..%2F")
    ),
    *(
        (strict_s3.key_has_no_empty_part, 400, "XMinioInvalidObjectName", "PUT", f"/bucket/{key}", {})
        for key in ("labels//1", "/labels/1", "labels/%2F1", "a%00b", "%FF")
    ),
    *(
        (strict_s3.prefix_has_no_empty_part, 400, "XMinioInvalidObjectName", "GET", f"/bucket?{query}", {})
        for query in ("list-type=2&prefix=labels%2F%2F", "prefix=/labels", "prefix=labels//")
    ),
    *(
        (strict_s3.key_is_short_enough, 400, "KeyTooLongError", "PUT", f"/bucket/{key}", {})
        for key in ("a" * (MAX_SEGMENT_BYTES + 1), "%C3%A9" * 128, "/".join(["a" * 200] * 6))
    ),
    (
        strict_s3.header_names_the_region,
        400,
        "AuthorizationHeaderMalformed",
        "GET",
        "/bucket/key",
        ELSEWHERE,
    ),
    (
        strict_s3.link_names_the_region,
        400,
        "AuthorizationQueryParametersError",
        "GET",
        LINK.format("eu-west-3", 60),
        {"authorization": None},
    ),
    *(
        (
            strict_s3.link_ends_within_a_week,
            400,
            "AuthorizationQueryParametersError",
            "GET",
            LINK.format("us-east-1", seconds),
            {"authorization": None},
        )
        for seconds in (MAX_LINK_SECONDS + 1, -1, "soon")
    ),
    *(
        (strict_s3.body_has_a_hash, 400, code, "GET", "/bucket/key", {"x-amz-content-sha256": told})
        for code, told in (("InvalidRequest", None), ("InvalidArgument", "abc"))
    ),
    (
        strict_s3.chunks_are_signed,
        400,
        "InvalidRequest",
        "PUT",
        "/bucket/key",
        {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
    ),
    *(
        (strict_s3.body_has_a_length, 411, "MissingContentLength", method, "/bucket/key", headers)
        for method in ("PUT", "POST")
        for headers in ({"content-length": None}, {"content-length": None, "transfer-encoding": "chunked"})
    ),
    *(
        (strict_s3.checksums_are_known, 400, "InvalidRequest", "PUT", "/bucket/key", headers)
        for headers in (
            {"x-amz-sdk-checksum-algorithm": "MD5"},
            {"x-amz-checksum-xxh3": "AAAAAA=="},
            {"x-amz-checksum-crc32": "AAA="},
            {"x-amz-checksum-crc32": "no base64"},
        )
    ),
    (strict_s3.deletion_has_a_checksum, 400, "MissingContentMD5", "POST", "/bucket?delete", {}),
]


@pytest.mark.parametrize(("rule", "status", "code", "method", "target", "changed"), CASES)
def test_each_rule_refuses_what_no_other_one_does(
    rule: Rule, status: int, code: str, method: str, target: str, changed: Mapping[str, str | None]
) -> None:
    request = request_of(method, target, changed)
    refusal = refused(request)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (status, code)
    assert refusal.message
    assert refused(request, [each for each in RULES if each != rule]) is None


def test_every_rule_is_tried_above() -> None:
    assert {case[0] for case in CASES} == set(RULES)


@pytest.mark.parametrize(
    ("method", "target", "changed"),
    [
        ("GET", "/", {}),
        ("PUT", "/bucket", {}),
        ("PUT", "/a.bucket-1/labels/auth0%7C1/deliveries/7.pdf", {}),
        ("PUT", f"/bucket/{'/'.join(['a' * 203] * 5)}{'b' * (MAX_KEY_BYTES - 5 * 204 + 1)}", {}),
        ("PUT", "/bucket/%252E%252E/...", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
        ("PUT", "/bucket/key", {"x-amz-sdk-checksum-algorithm": "crc32", "x-amz-checksum-crc32": "AAAAAA=="}),
        ("GET", "/bucket/key", {"x-amz-checksum-mode": "ENABLED"}),
        ("GET", "/bucket?list-type=2&prefix=labels%2F%25%2F&start-after=labels%2Fa", {"content-length": None}),
        ("GET", LINK.format("us-east-1", MAX_LINK_SECONDS), {"authorization": None, "x-amz-content-sha256": None}),
        ("POST", "/bucket?delete=", {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
        ("POST", "/bucket?delete", {"x-amz-checksum-crc32": "AAAAAA=="}),
        ("DELETE", "/bucket/key", {"content-length": None}),
    ],
)
def test_what_is_in_order_passes(method: str, target: str, changed: Mapping[str, str | None]) -> None:
    assert refused(request_of(method, target, changed)) is None


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (SHA256, None),
        ("0" * 64, "XAmzContentSHA256Mismatch"),
        ("UNSIGNED-PAYLOAD", None),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None),
    ],
)
def test_a_body_is_what_its_hash_says(told: str, code: str | None) -> None:
    refusal = body_refused(request_of("PUT", "/bucket/key", {"x-amz-content-sha256": told}), SHA256)
    assert (refusal and refusal.code) == code


@pytest.mark.parametrize(
    ("action", "resource", "code"),
    [
        ("s3:GetObject", "arn:aws:s3:::bucket/*", None),
        ("s3:ListBucket", "arn:aws:s3:::bucket", None),
        ("s3:*", "arn:aws:s3:::bucket", None),
        ("s3:DeleteBucket", "arn:aws:s3:::bucket/*", "MalformedPolicy"),
        ("s3:GetObject", "arn:aws:s3:::bucket", "MalformedPolicy"),
    ],
)
def test_a_policy_s_actions_fit_its_resources(action: str, resource: str, code: str | None) -> None:
    body = f'{{"Statement": [{{"Action": ["{action}"], "Resource": "{resource}"}}]}}'.encode()
    refusal = policy_refused(request_of("PUT", "/bucket?policy", {}), body)
    assert (refusal and refusal.code) == code
    assert policy_refused(request_of("PUT", "/bucket/key?policy", {}), b"no policy") is None
