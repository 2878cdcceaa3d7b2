"""No secret anywhere: whole commands, against a service that sends back all that it was sent, in every field."""

import base64
import json
import resource
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from program import INSTANCE, NO_KEY, UNHURRIED, bulkcert, here, start, wait_for, write_devices
from test_notify import TOKEN as HOOK_TOKEN
from test_notify import hook  # noqa: F401 - a fixture

from bulkcert.emulator import process
from bulkcert.emulator.messages import Answer
from bulkcert.input import readers
from bulkcert.runs import approval
from bulkcert.service import client
from bulkcert.service.client import clean

SECRET, TOKEN = "s3cr+t/ThatNobodyMayEverRead0123", "CAIS/9+tokenThatNobodyMayRead=0123456789/+abcdefg=="
ENV = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "STS.shown",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET,
    "ALIBABA_CLOUD_SECURITY_TOKEN": TOKEN,
}


def forms(text):
    """Returns a text as it is, and as others may write it."""
    page = "".join(each if each.isalnum() else f"&#{ord(each)};" for each in text)
    quoted = quote(text, safe="")
    return [text, base64.b64encode(text.encode()).decode(), quoted, quoted.replace("%2B", "%2b"), page]


# From behind its beginning: nothing of it may be left.
NEEDLES = [form[16:32] for secret in (SECRET, TOKEN) for form in forms(secret)] + [HOOK_TOKEN]


def found_in(text):
    return [needle for needle in NEEDLES if needle in text]


def echoing(emulator):
    """Lets an emulator send back the headers of a request, and what it knows, in every field that an answer has."""
    answer = emulator.answer

    def body(said, **fields):
        return json.dumps({"RequestId": said[40:], "Message": said, **fields}).encode()

    def echoed(request):
        given, delay_s = answer(request)
        said = " ".join([*(each for secret in (TOKEN, SECRET) for each in forms(secret)), *request.headers.values()])
        header = said.encode("ascii", "replace")
        headers = ((b"content-type", header), (b"date", header), (b"x-acs-request-id", header))
        parameters = request.parameters()
        if request.method == "GET":
            if given.status != 200 or b"Status" not in given.body:
                return Answer(given.status, given.body, (*given.headers, *headers[1:])), delay_s
            text = given.body.decode().replace(
                '"Status"', f'"DeviceName":{json.dumps(said)},"CaName":"{TOKEN}","Status"'
            )
            return Answer(200, text.encode(), headers), delay_s
        serial = parameters.get("DeviceSn", "0")
        kinds = (
            (given.status, given.body, headers),
            (400, body(said, Code="FindDeviceBySnError"), headers),
            (400, body(said, Code=said), headers),
            (502, header, headers),
            (200, body(said, DeviceSn=said), headers),
            (403, body(f"x\n{said}", Code="Strange"), headers),
        )
        return Answer(*kinds[int(serial[-1]) % len(kinds)]), delay_s

    emulator.answer = echoed


@pytest.fixture
def place(tmp_path, service):
    """Returns a directory with a list, and where the service is that echoes."""
    service.seed(write_devices(tmp_path / "d.csv", 12))
    service.tell("access-key", id=ENV["ALIBABA_CLOUD_ACCESS_KEY_ID"], secret=SECRET, token=TOKEN)
    answer = service._emulator.answer
    echoing(service._emulator)
    yield tmp_path, ("--endpoint", service.url, "--instance", INSTANCE)
    service._emulator.answer = answer


def test_nowhere(place, hook):  # noqa: F811
    """Not in what is printed, logged, written, sent as a message: of no command, whatever the service sends back."""
    directory, where = place
    url, posts, _ = hook
    env, said = ENV | {"BULKCERT_NOTIFY": url}, []

    def do(*line, **more):
        ended = here(*line, cwd=directory, env=env | more)
        assert ended.status in (0, 1, 69, 75, 77), ended.stderr
        said.append(ended.stdout + ended.stderr)

    logged = ("-v", "--log-file", "l.log")
    calling = (*where, *UNHURRIED, "--attempts", "2", *logged)
    do("doctor", *where, "-v", "--json")
    do("inventory", *where, *UNHURRIED, "-o", "i.csv", *logged)
    do("plan", "inactivate-device", "d.csv", *calling, "--preflight", "always", "-o", "p.plan.json")
    run = ("run", "inactivate-device", "d.csv", *calling, "--yes", "--metrics-file", "m.prom", "--max-errors", "99")
    do(*run, "-o", "r.csv")
    do(*run, "-o", "j.csv", "--log-format", "json", "--preflight", "never")
    do("verify", "r.csv", "-v")
    do("resume", "r.csv", "--retry", "failed,unknown", "--yes", *logged)
    for line in (("status", "--json"), ("status",), ("export", "-o", "e.ndjson"), ("runs", "."), ("control", "--stop")):
        ended = here(line[0], *(["r.csv"] if line[0] != "runs" else []), *line[1:], cwd=directory, env=env)
        said.append(ended.stdout + ended.stderr)
    for kind in ("html", "text", "md", "json"):
        do("report", "r.csv", "--format", kind, *(["-o", "r.html"] if kind == "html" else []))
    do("undo", "r.csv", "--yes", "--include-unknown", "-v")
    do(*run, "-o", "wrong.csv", ALIBABA_CLOUD_ACCESS_KEY_SECRET=f"{SECRET}wrong")

    written = {path: path.read_bytes().decode("latin-1") for path in directory.rglob("*") if path.is_file()}
    assert len(written) > 15
    assert len(posts) >= 5
    assert "***" in "".join(said), "nothing came back"
    assert {str(path): found_in(text) for path, text in written.items() if found_in(text)} == {}
    assert [found_in(text) for text in said if found_in(text)] == []
    assert found_in(json.dumps(posts)) == []


def test_in_no_message_of_an_internal_error(place, monkeypatch):
    """What nobody has foreseen is shown with its traceback by -v, which has no values."""
    directory, where = place

    def failing(*_, **_named):
        raise RuntimeError("x")

    monkeypatch.setattr(client, "signing", failing)
    ended = here("run", "inactivate-device", "d.csv", *where, "--yes", "-v", "-o", "r.csv", cwd=directory, env=ENV)
    assert ended.status == 70
    assert "RuntimeError" in ended.stderr
    assert found_in(ended.stdout + ended.stderr) == []


@pytest.mark.parametrize(
    "mistake",
    [
        ("status", "r.csv", "--notify", "URL"),
        ("run", "inactivate-device", "d.csv", "--notify", "URL", "--nosuch"),
        ("verify", "r.csv", "--notify=URL", "--watch", "x"),
        ("run", "inactivate-device", "d.csv", "--yes", "--notify", "no" + "URL"),
    ],
)
def test_in_no_message_about_what_was_typed(place, mistake):
    """The URL of a message is not repeated by what refuses the command, nor by the command that tries again."""
    line = [each.replace("URL", f"json://127.0.0.1:1/{HOOK_TOKEN}") for each in mistake]
    ended = here(*line, cwd=place[0], env=ENV)
    assert ended.status in (2, 66)
    assert found_in(ended.stderr + ended.stdout) == []


JOBS = [
    "notify = {x = 'URL'}",
    "notify = ['URL', 7]",
    "notify = 'URL",
    "notify = ['URL']\nnosuch = 1",
    "notifi = 'URL'",
]


@pytest.mark.parametrize("job", JOBS)
def test_in_no_message_about_a_job_file(place, job):
    """Nor by what refuses a job file."""
    directory, _ = place
    (directory / "j.toml").write_text(job.replace("URL", f"json://127.0.0.1:1/{HOOK_TOKEN}"))
    ended = here("run", "inactivate-device", "d.csv", "--job", "j.toml", cwd=directory, env=ENV).ended(2)
    assert found_in(ended.stderr + ended.stdout) == []


CREDENTIALS = {
    "a line without a section": f"access_key_secret = {SECRET}\n",
    "a line that is none": f"[default]\ntype = access_key\naccess_key_id = x\n{SECRET}\n",
    "another type": f"[default]\ntype = {SECRET}\n",
    "a token that is odd": f"[default]\ntype = sts\naccess_key_id = x\naccess_key_secret = {SECRET}\n{TOKEN}\n",
}


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_in_no_message_about_credentials(place, kind):
    """What a provider of the chain quotes from a file that it cannot use is hidden, also by -v; its name is not."""
    directory, where = place
    (directory / "c.ini").write_text(CREDENTIALS[kind])
    env = NO_KEY | {"ALIBABA_CLOUD_CREDENTIALS_FILE": str(directory / "c.ini")}
    ended = bulkcert("doctor", *where, "-v", "--log-file", "l.log", cwd=directory, env=env).ended(77)
    assert "no credentials found" in ended.stdout + ended.stderr
    log = (directory / "l.log").read_text()
    assert "ProfileCredentialsProvider" in log
    assert found_in(ended.stdout + ended.stderr + log) == []


def test_in_no_child(tmp_path, service, monkeypatch):
    """What is started proves files, checks signatures, is an emulator: it gets neither credentials nor such a URL."""
    begun = []

    def recording(begin):
        return lambda line, *more, **how: begun.append((line, how.get("env"))) or begin(line, *more, **how)

    for module, name in ((process, "Popen"), (readers, "run"), (approval, "run")):
        changed = vars(module.subprocess) | {name: recording(getattr(module.subprocess, name))}
        monkeypatch.setattr(module, "subprocess", SimpleNamespace(**changed))
    url = f"json://127.0.0.1:1/{HOOK_TOKEN}"
    env = ENV | {"BULKCERT_NOTIFY": url}
    service.seed(write_devices(tmp_path / "d.csv", 3))
    here("inventory", "--endpoint", service.url, "--instance", INSTANCE, "-o", "d.parquet", cwd=tmp_path).ended(0)
    here("rehearse", "inactivate-device", "d.parquet", "-o", "r.csv", cwd=tmp_path, env=env).ended(0)
    monkeypatch.setenv("BULKCERT_NOTIFY", url)
    monkeypatch.setenv("ALIBABA_CLOUD_SECURITY_TOKEN", TOKEN)
    approval._ssh_keygen("find-principals")

    assert len(begun) >= 3
    for line, given in begun:
        assert given is not None
        assert "PATH" in given
        assert found_in(" ".join(map(str, [*line, *given.values()]))) == []


def test_in_no_core(place):
    """A command that is killed by its own fault leaves no core; a limit of the user's stays what it is at most."""
    directory, where = place
    line = ("run", "inactivate-device", "d.csv", *where, "--yes", "--rate", "4", "-o", "r.csv")
    with start(*line, cwd=directory, env=ENV) as child:
        wait_for(child, (directory / "r.csv.run" / "store.sqlite").exists)
        assert resource.prlimit(child.pid, resource.RLIMIT_CORE)[0] == 0
        child.terminate()


@pytest.mark.parametrize("secret", [SECRET, TOKEN, "short", "=+=+=+=+=+=+=+=+=+=+=+=+=+"])
def test_every_form_is_hidden(secret):
    """Whole, cut after sixteen characters, quoted, as base64: hidden; what is beside it stays."""
    for echoed in (*forms(secret), secret[:16], secret[:20]):
        assert clean(f"a {echoed} b", 999, (secret,)) == "a *** b"
        assert found_in(clean(f"a&x={echoed}\tb", 999, (secret,))) == []
    assert clean("nothing of it: %s3cr &amp; CAIS", 999, (SECRET, TOKEN)) == "nothing of it: %s3cr &amp; CAIS"
    assert clean("nothing to hide", 999, ()) == "nothing to hide"
