"""The gateway's check of a request: right ones pass as captured, and each thing that can be wrong has its code."""

import asyncio
import json
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from test_emulator_calls import CA, DEVICE, NOW, InProcess

from bulkcert.emulator.messages import Refusal, Request, header_fields
from bulkcert.emulator.server import listening
from bulkcert.emulator.settings import Settings
from bulkcert.emulator.verify import SKEW_S, AccessKey, Nonces, verify
from bulkcert.service.signing import Credentials, canonical_query

VECTORS = [
    vector
    for vector in json.loads((Path(__file__).parent / "signature-vectors.json").read_text())
    if vector["signature_scheme"] == "ACS3-HMAC-SHA256"
]
BEYOND_THE_GATEWAY = {
    *("FindDeviceBySnError", "FindCaBySnError", "CertificateContentError", "ParameterFieldCheckFailed")
}
CAPTURED = [vector for vector in VECTORS if vector["wire"]]


def by_id(vectors):
    return {"argvalues": vectors, "ids": [vector["id"] for vector in vectors]}


def key_of(vector):
    inputs = vector["inputs"]
    return AccessKey(inputs["access_key_id"], inputs["access_key_secret"], token=inputs["security_token"])


def checked(vector):
    """Verifies what a vector says was sent."""
    inputs, key = vector["inputs"], key_of(vector)
    headers = inputs["signed_headers"] | {"authorization": vector["expected"]["authorization"]}
    query = canonical_query(inputs["operation_params"]).encode()
    request = Request(0, "127.0.0.1", inputs["method"], inputs["path"], query, headers)
    now = datetime.fromisoformat(inputs["x_acs_date"]).timestamp()
    return verify(request, request.parameters(), {key.id: key}, Nonces(), now).id


def test_all_vectors_are_there():
    """The reference counts 34 captures and one published example."""
    assert (len(CAPTURED), len(VECTORS)) == (34, 35)


@pytest.mark.parametrize("vector", **by_id(VECTORS))
def test_vector_is_accepted(vector):
    """Every known-good signature is accepted, the published one of another product included."""
    assert checked(vector) == vector["inputs"]["access_key_id"]


async def test_wire_form_is_accepted():
    """The bytes that the vendor's SDK really sent pass the signature check and reach the operation."""
    async with listening(Settings(port=0, instances=("post-cn-7mz2d000001",))) as served:
        port = httpx.URL(served.url).port
        for vector in CAPTURED:
            emulator, key = served.emulator, key_of(vector)
            emulator.keys[key.id] = key
            emulator.clock_offset_s = datetime.fromisoformat(vector["inputs"]["x_acs_date"]).timestamp() - time.time()
            answer = await replay(vector["wire"], port)

            assert answer["Code"] in BEYOND_THE_GATEWAY, (vector["id"], answer)


async def replay(wire, port):
    """Sends a captured request byte for byte and returns the body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [wire["request_line"], *(f"{name}: {value}" for name, value in wire["headers"]), "connection: close"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def code_of(call, *, skew_s=0, change=None, **options):
    answer = await call.inactivate(skew_s=skew_s, change=change, **options)
    return answer.json().get("Code")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"authorization": ""}, "IncompleteSignature"),
        ({"authorization": "ACS3-HMAC-SHA256 Credential=x"}, "IncompleteSignature"),
        ({"x-acs-date": "2026-11-20T16:00:01Z"}, "SignatureDoesNotMatch"),
        ({"x-acs-signature-nonce": "another"}, "SignatureDoesNotMatch"),
        ({"x-acs-content-sha256": "0" * 64}, "SignatureDoesNotMatch"),
        ({"host": "onsmqtt.cn-hangzhou.aliyuncs.com"}, "SignatureDoesNotMatch"),
        ({"x-acs-action": "ActiveDeviceCertificate"}, "SignatureDoesNotMatch"),
        ({"x-acs-date": "yesterday"}, "InvalidTimeStamp.Format"),
        ({"x-acs-date": "2026-13-20T16:00:00Z"}, "InvalidTimeStamp.Format"),
        ({"x-acs-date": "2026-11-20T16:00:00+00:00"}, "InvalidTimeStamp.Format"),
    ],
)
async def test_tampered_headers(change, code):
    """A header that was changed after signing is noticed, and nothing is done."""
    async with InProcess() as call:
        assert await code_of(call, change=change) == code
        assert call.status() == "1"


async def test_tampered_query_body_and_method():
    """The signature covers the query, the body and the method."""
    async with InProcess() as call:
        request = (await call.inactivate()).request
        for changed in (
            {"url": request.url.copy_set_param("DeviceSn", "another")},
            {"content": b"body"},
            {"method": "GET"},
        ):
            content = {"method": "POST", "url": request.url} | changed
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            answer = await call.http.request(**content, headers=headers)

            assert answer.json()["Code"] == "SignatureDoesNotMatch"


async def test_mismatch_shows_both_texts():
    """A wrong signature is answered with the server's string to sign and canonical request, as V3 does."""
    async with InProcess() as call:
        call.credentials = Credentials("testAccessKeyId", "wrong")
        message = (await call.inactivate()).json()["Message"]

        assert message.startswith("Specified signature does not match our calculation. ")
        assert "server string to sign is:ACS3-HMAC-SHA256\n" in message
        assert f"server canonical string is:POST\n/\nCaSn={CA}&DeviceSn={DEVICE}&" in message
        assert "testAccessKeySecret" not in message


PLAIN, WITH_TOKEN = VECTORS[0], next(vector for vector in VECTORS if vector["id"] == "acs3-13-sts-sync")


@pytest.mark.parametrize(
    ("vector", "named", "instead"),
    [
        *((PLAIN, name, "") for name in ("host;", "x-acs-action;", "x-acs-date;", "x-acs-signature-nonce;")),
        (PLAIN, ";x-acs-version,", ","),
        (PLAIN, "SignedHeaders=", "SignedHeaders=absent;"),
        (WITH_TOKEN, "x-acs-security-token;", ""),
    ],
)
def test_headers_that_must_be_signed(vector, named, instead):
    """A signature that leaves out a required header or a token, or names one that was not sent, is incomplete."""
    authorization = vector["expected"]["authorization"]
    assert named in authorization

    with pytest.raises(Refusal, match="IncompleteSignature"):
        checked(vector | {"expected": {"authorization": authorization.replace(named, instead)}})


@pytest.mark.parametrize(
    ("skew_s", "code"),
    [(skew, None) for skew in (SKEW_S, -SKEW_S)]
    + [(skew, "InvalidTimeStamp.Expired") for skew in (SKEW_S + 1, -SKEW_S - 1)],
)
async def test_skew(skew_s, code):
    """The date may be 15 minutes off either way, and no more."""
    async with InProcess() as call:
        assert await code_of(call, skew_s=skew_s) == code


async def test_nonce_is_good_once():
    """A nonce is refused the second time, though all else may differ; only a right signature uses it up."""
    async with InProcess() as call:
        assert await code_of(call, nonce="once", skew_s=3600) == "InvalidTimeStamp.Expired"
        assert await code_of(call, nonce="once") is None
        assert await code_of(call, nonce="once") == "SignatureNonceUsed"
        assert await code_of(call, nonce="once", skew_s=1, device="another") == "SignatureNonceUsed"


def test_nonces_are_remembered_as_long_as_needed_and_no_longer():
    """A nonce is known until its date is too old to be accepted, and forgotten soon after."""
    nonces = Nonces()
    assert nonces.use("nonce", NOW + SKEW_S, NOW)
    assert not nonces.use("nonce", NOW + SKEW_S, NOW + SKEW_S)
    for minute in range(120):
        now = NOW + minute * 60
        for number in range(10):
            assert nonces.use(f"{minute}-{number}", now + SKEW_S, now)

    assert sum(map(len, nonces._buckets.values())) <= 10 * (SKEW_S / 60 + 5)


KEYS = [
    (AccessKey("unknown", "s"), {}, "InvalidAccessKeyId.NotFound"),
    (AccessKey("disabled", "s", enabled=False), {}, "InvalidAccessKeyId.Inactive"),
    (AccessKey("temporary", "s", token="t"), {}, "MissingSecurityToken"),
    (AccessKey("temporary", "s", token="t"), {"security_token": "other"}, "InvalidSecurityToken.MismatchWithAccessKey"),
    (AccessKey("temporary", "s", token="t"), {"security_token": "garbage"}, "InvalidSecurityToken.Malformed"),
    (AccessKey("lasting", "s"), {"security_token": "other"}, "InvalidSecurityToken.MismatchWithAccessKey"),
    (AccessKey("old", "s", token="t", expires_at=NOW), {"security_token": "t"}, "InvalidSecurityToken.Expired"),
    (AccessKey("young", "s", token="t", expires_at=NOW + 1), {"security_token": "t"}, None),
    (AccessKey("temporary", "s", token="t"), {"security_token": "t"}, None),
    (AccessKey("lasting", "s"), {}, None),
]


@pytest.mark.parametrize(("key", "given", "code"), KEYS, ids=[f"{key.id}-{code}" for key, _, code in KEYS])
async def test_keys_and_tokens(key, given, code):
    """Each way in which key and token can be wrong has its own code."""
    async with InProcess() as call:
        call.emulator.keys["another"] = AccessKey("another", "s", token="other")
        if key.id != "unknown":
            call.emulator.keys[key.id] = key
        call.credentials = Credentials(key.id, "s", **given)

        assert await code_of(call) == code


def test_repeated_headers_are_joined():
    """A repeated header counts as its values, sorted and joined by commas (section 5, step 3)."""
    fields = header_fields([(b"x-acs-a", b" b "), (b"host", b"h"), (b"x-acs-a", b"a")])

    assert fields == {"x-acs-a": "a,b", "host": "h"}


def test_plus_is_a_space():
    """A plus in the query is a space, whoever wrote it, and a percent-encoded one is a plus."""
    request = Request(0, "", "POST", "/", b"DeviceSn=a+b%2Bc/~*%C3%A9&Empty=", defaultdict(str))

    assert request.parameters() == {"DeviceSn": "a b+c/~*é", "Empty": ""}
