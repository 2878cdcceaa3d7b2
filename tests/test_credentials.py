"""The vendor's credential chain, each time in a process of its own: it reads the environment once, at import."""

import json
import subprocess
import sys
import textwrap
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from program import NO_KEY, PATIENCE_S, environment


def resolved(script, changes):
    """Runs a script with a provider; returns what it printed, and what stands on stderr."""
    program = "import anyio, time; from bulkcert.service.credentials import ChainCredentials\n"
    program += "from bulkcert.errors import *\nasync def main():\n    provider = ChainCredentials()\n"
    program += textwrap.indent(textwrap.dedent(script), "    ") + "\nanyio.run(main)"
    how = {"env": environment(changes), "capture_output": True, "text": True, "timeout": PATIENCE_S}
    child = subprocess.run([sys.executable, "-c", program], check=True, **how)
    return child.stdout.strip(), child.stderr


PRINT = """
await provider.renew()
print(provider.current.access_key_id, provider.current.access_key_secret, provider.current.security_token)
"""


def test_environment():
    """An access key in the environment is used, with the token if there is one; nothing is logged."""
    said = resolved(PRINT, {"ALIBABA_CLOUD_SECURITY_TOKEN": "token"})
    assert said == ("testAccessKeyId testAccessKeySecret token", "")


def profile(home, **fields):
    """Writes a profile of the command-line tool; returns the environment in which there is nothing else."""
    (home / ".aliyun").mkdir()
    profiles = {"current": "p", "profiles": [{"name": "p", **fields}]}
    (home / ".aliyun" / "config.json").write_text(json.dumps(profiles))
    return NO_KEY | {"HOME": str(home), "ALIBABA_CLOUD_CLI_PROFILE_DISABLED": None}


def test_profile(tmp_path):
    """Without one, a profile of the command-line tool is used."""
    changes = profile(tmp_path, mode="AK", access_key_id="profile-id", access_key_secret="profile-secret")

    assert resolved(PRINT, changes)[0] == "profile-id profile-secret None"


def test_none():
    """Without any there is one clear error that says where they were looked for; no traceback of the chain's own."""
    script = """
    import logging, sys
    log = logging.getLogger("bulkcert")
    log.setLevel(logging.DEBUG)
    log.addHandler(logging.StreamHandler(sys.stdout))
    try:
        await provider.renew()
    except BulkcertError as error:
        print(int(error.status), error.message, error.advice)
    """
    said, logged = resolved(script, NO_KEY)
    tried, said = said.splitlines()

    assert said.startswith("77 no credentials found Set ALIBABA_CLOUD_ACCESS_KEY_ID ")
    assert "EnvironmentVariableCredentialsProvider" in tried, "for -v alone"
    assert "CredentialsProvider" not in said
    assert logged == ""


@pytest.fixture
def asked_once():
    """Runs a script whose credentials come from a URI, which is to be asked once; returns what it printed."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = {"Code": "Success", "AccessKeyId": f"id-{len(asked)}", "AccessKeySecret": "s", "SecurityToken": "t"}
            body["Expiration"] = "2099-01-01T00:00:00Z"
            text = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()

    def run(script):
        url = f"http://127.0.0.1:{server.server_port}/"
        said, _ = resolved(script, NO_KEY | {"ALIBABA_CLOUD_CREDENTIALS_URI": url})
        assert len(asked) == 1
        return said

    yield run
    server.shutdown()
    server.server_close()


def test_one_caller_at_a_time_and_the_loop_goes_on(asked_once):
    """Many callers share one resolution, the event loop is never blocked, and a fresh value is not fetched again."""
    script = """
    from threading import Event
    asked, answered, resolve = Event(), Event(), provider._resolve
    def waiting():
        asked.set()
        return answered.wait(60) and resolve()
    provider._resolve = waiting
    async with anyio.create_task_group() as callers:
        for _ in range(20):
            callers.start_soon(provider.renew)
        while not asked.is_set():
            await anyio.sleep(0.005)
        # Only a loop that goes on while the chain is asked comes here.
        answered.set()
    first = provider.current
    await provider.renew(stale=None)
    print(first.access_key_id, provider.current == first)
    """

    assert asked_once(script) == "id-1 True"


def test_renewing_what_others_have_renewed_does_nothing():
    """Of many calls refused for an expired token only the first asks for new credentials."""
    script = """
    from bulkcert.service.signing import Credentials
    await provider.renew()
    current, provider._chain = provider.current, None
    await provider.renew(stale=Credentials("other", "s", "t"))
    print(provider.current is current, provider._chain is None)
    """

    assert resolved(script, {})[0] == "True True"
