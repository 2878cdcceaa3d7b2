"""The signature, judged by captures of the vendor's SDK and by the published example."""

import hmac
import json
from pathlib import Path
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcert.service.signing import (
    Credentials,
    canonical_query,
    canonical_request,
    encode,
    signature,
    signing,
    string_to_sign,
)

VECTORS = [
    vector
    for vector in json.loads((Path(__file__).parent / "signature-vectors.json").read_text(encoding="utf-8"))
    if vector["signature_scheme"] == "ACS3-HMAC-SHA256"
]


def test_there_are_35_vectors():
    """No ACS3 vector of the reference is left out."""
    assert len(VECTORS) == 35


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vector(vector):
    """Every step of the signature comes out byte for byte as captured."""
    inputs, expected = vector["inputs"], vector["expected"]
    query = canonical_query(inputs["operation_params"])
    request = canonical_request(inputs["method"], query, inputs["signed_headers"], inputs["payload_sha256"])

    assert query == expected["canonical_query_string"]
    assert request == expected.get("canonical_request", request)
    assert string_to_sign(request) == expected["string_to_sign"]
    assert signature(inputs["access_key_secret"], string_to_sign(request)) == expected["signature"]


@given(secret=st.text(max_size=200), text=st.text())
def test_it_is_an_hmac(secret, text):
    """However long the key is."""
    assert signature(secret, text) == hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()


def test_own_calls_sign_host_and_acs_headers_only():
    """What a proxy may rewrite is not signed: the published example has the same set of headers."""
    vector = next(vector for vector in VECTORS if vector["id"] == "published-acs3-ecs-runinstances")
    inputs = vector["inputs"]

    signs = signing(
        Credentials(inputs["access_key_id"], inputs["access_key_secret"]),
        method=inputs["method"],
        host=inputs["host"],
        operation=inputs["action"],
        version=inputs["version"],
        date=inputs["x_acs_date"],
    )
    headers_of_call = signs.headers_of(canonical_query(inputs["operation_params"]), inputs["x_acs_signature_nonce"])

    assert signs.headers | dict(headers_of_call) == {
        **inputs["signed_headers"],
        "authorization": vector["expected"]["authorization"],
    }


def test_a_token_is_sent_and_signed():
    """With temporary credentials the token and the key id are among the signed headers (reference, section 4)."""
    signs = signing(
        Credentials("id", "secret", "token+/=="), method="POST", host="h", operation="o", version="v", date="d"
    )
    headers = signs.headers | dict(signs.headers_of("", "n"))

    assert headers["x-acs-security-token"] == "token+/=="
    assert headers["x-acs-accesskey-id"] == "id"
    assert ";x-acs-security-token;" in headers["authorization"]


@given(st.text())
def test_encoding(text):
    """Any text is encoded as by the standard library, that nothing but unreserved characters and hex is left."""
    assert encode(text) == quote(text.encode(), safe="-_.~")


@given(st.dictionaries(st.from_regex(r"[A-Za-z]{1,8}", fullmatch=True), st.text(), max_size=4))
def test_canonical_query_is_sorted_and_lossless(parameters):
    """The signed query holds every parameter once, sorted by name, empty values included."""
    query = canonical_query(parameters)

    assert parse_qsl(query, keep_blank_values=True) == sorted(parameters.items())


def test_secrets_are_never_shown():
    """The representation of credentials holds neither secret nor token."""
    shown = repr(Credentials("the-id", "the-secret", "the-token"))

    assert "the-id" in shown
    assert "the-secret" not in shown
    assert "the-token" not in shown
