"""TLS that is wrong in every way: nothing is sent, nothing is believed, and nobody falls back to plain HTTP."""

import os
import socketserver
import ssl
import threading
from contextlib import contextmanager, suppress

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from made_store import made_run, session
from own_tls import server_context
from program import INSTANCE, here
from test_client import one_call

from bulkcert.service.codes import Verdict
from bulkcert.telemetry import notify

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
BODY = b'{"RequestId":"R","DeviceSn":"0042"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 35\r\n\r\n" + BODY


def old(context):
    """Lets a server speak nothing newer than TLS 1.1."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def asking(context, newest):
    """Lets a server demand a certificate of its client."""
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, newest
    return context


def weak():
    return rsa.generate_private_key(65537, 1024)


# What a server is like, and what is said of it; but for the first its certificate is among those that are trusted.
REFUSED = {
    "self-signed": (server_context, "not trusted: self-signed certificate"),
    "expired": (lambda path: server_context(path, begins=-9, ends=-1), "not trusted: certificate has expired"),
    "not yet valid": (lambda path: server_context(path, begins=2, ends=3), "not trusted: certificate is not yet"),
    "of another host": (lambda path: server_context(path, host="127.0.0.9"), "not trusted: IP address mismatch"),
    "with a weak key": (lambda path: server_context(path, key=weak()), "not trusted: EE certificate key too weak"),
}
FAILING = {
    "TLS 1.1": (lambda path: old(server_context(path)), "TLS: "),
    "plain HTTP": ("plain", "TLS: "),
    "a handshake that is cut": ("cut", "cannot connect to"),
    "a handshake of rubbish": ("rubbish", "TLS: "),
    "a certificate is demanded": (lambda path: asking(server_context(path), ssl.TLSVersion.TLSv1_2), "TLS: "),
}
SENT = {
    "cut in the answer": "cut in the answer",
    "an answer that ends by a cut": "no end",
    "a certificate is demanded later": lambda path: asking(server_context(path), ssl.TLSVersion.TLSv1_3),
}
KINDS = REFUSED | FAILING | {kind: (how, "may have been done") for kind, how in SENT.items()}


@contextmanager
def serving(kind, path, monkeypatch):
    """Runs a server of a kind; yields its URL, and what it has read that is a request."""
    how, _ = KINDS[kind]
    context = how(path) if callable(how) else server_context(path)
    if kind != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    asked = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with suppress(OSError):
                self.talk()

        def talk(self):
            if how in ("plain", "cut", "rubbish"):
                asked.append(self.request.recv(1000))
                said = {
                    "plain": b"HTTP/1.1 200 OK\r\ncontent-length: 35\r\n\r\n" + BODY,
                    "rubbish": b"\x16\x03\x03\x00\x04oops",
                }
                self.request.sendall(said.get(how, b""))
                return
            with context.wrap_socket(self.request, server_side=True, suppress_ragged_eofs=False) as connection:
                asked.append(connection.recv(1000))
                if how == "cut in the answer":
                    connection.sendall(ANSWER[:-15])
                elif how == "no end":
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + BODY)
                os.close(connection.detach())  # without the end that TLS has

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_wrong(tmp_path, monkeypatch, kind):
    """What is refused before a request has left is known not to be done; what is cut later is never a success."""
    with serving(kind, tmp_path / "c.pem", monkeypatch) as (url, asked):
        answer = anyio.run(one_call, url)

    expected = {Verdict.UNANSWERED} if kind in SENT else {Verdict.STOP} if kind in REFUSED else {Verdict.NOT_SENT}
    assert answer.verdict in expected, answer
    assert KINDS[kind][1] in answer.message
    assert len(answer.message) < 160
    if kind in REFUSED:
        assert answer.code == "Client.CertificateRefused"
        assert f"certificate of {url.removeprefix('https://')} is" in answer.message
    if kind not in SENT:
        assert not [each for each in asked if each.startswith((b"POST", b"GET"))], "it went plain, or to the wrong one"


@pytest.mark.parametrize("kind", ["self-signed", "plain HTTP", "TLS 1.1"])
def test_what_is_said(tmp_path, monkeypatch, kind):
    """A doctor names what fails and what to do, and ends with 69."""
    with serving(kind, tmp_path / "c.pem", monkeypatch) as (url, _):
        certificates = {"SSL_CERT_FILE": str(tmp_path / "c.pem") if kind != "self-signed" else None}
        ended = here("doctor", "--endpoint", url, "--instance", INSTANCE, "--attempts", "1", env=certificates).ended(69)

    said = " ".join((ended.stdout + ended.stderr).split())
    assert f"{'tls' if kind in REFUSED else 'endpoint'} failed" in said
    assert KINDS[kind][1] in said
    assert "→" in said


@pytest.mark.parametrize("kind", [*REFUSED, "plain HTTP", "TLS 1.1", "a handshake of rubbish"])
def test_messages(tmp_path, monkeypatch, kind):
    """What a message says, and the token of its URL, go to no server that does not prove who it is."""
    monkeypatch.setattr(notify, "MOST_S", 60.0)
    files, warnings = made_run(tmp_path, ["failed"], [session(ended=1)]), []
    with serving(kind, tmp_path / "c.pem", monkeypatch) as (url, asked):
        there = f"{url.replace('https', 'jsons')}/token-of-a-hook"
        with notify.Notifier([there], "run", files, warnings.append) as notifier:
            notifier.exit_status = 0

    assert [each for each in warnings if "was not delivered" in each]
    assert not [each for each in asked if b"token-of-a-hook" in each]
