"""``--notify``: a message in the end, whatever the end is; the URL is a secret, and no message changes anything."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from made_store import made_run, session
from program import INSTANCE, UNHURRIED, here, start, wait_for, write_devices

from bulkcert.telemetry import notify
from bulkcert.views import confirm

TOKEN = "5ecr3t-t0ken"


@pytest.fixture
def hook(monkeypatch):
    """Gives a webhook: its URL, what it was sent, and what it answers; a busy machine may take its time."""
    monkeypatch.setattr(notify, "MOST_S", 60.0)
    posts, answer = [], [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answer[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/{TOKEN}?cto=60&rto=60", posts, answer
        server.shutdown()


@pytest.fixture
def run(tmp_path, service):
    """Runs over a list of which a part is registered, with messages to the URLs that are given."""
    service.seed(write_devices(tmp_path / "d.csv", 10)[:8])
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "-o", "r.csv")

    def do(*more, urls=(), how=here, pace=UNHURRIED):
        environment = {"BULKCERT_NOTIFY": " ".join(urls) or None}
        return how("run", "inactivate-device", "d.csv", *where, *pace, *more, cwd=tmp_path, env=environment)

    return do


def test_every_end_of_a_run(tmp_path, hook, run):
    """Run, verify, undo and a refused start each say what, where, what came of it and what is next."""
    url, posts, _ = hook
    run(urls=[url]).ended(1)
    for command, status in (("verify", 1), ("undo", 0)):
        more = ("--yes", "--include-unknown") if command == "undo" else ()
        here(command, "r.csv", *more, *UNHURRIED, cwd=tmp_path, env={"BULKCERT_NOTIFY": url}).ended(status)
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n,\n")
    run("--overwrite", urls=[url]).ended(65)
    ran, verified, undone, refused = posts

    assert ran["title"] == f"bulkcert run inactivate-device on {INSTANCE} ended with 1"
    assert "rows: 10: 8 succeeded, 2 not registered" in ran["message"]
    assert "r.csv.failed.csv: 2 rows not in the desired state" in ran["message"]
    assert "next: 2 not registered; NOT safe" in ran["message"]
    assert "`bulkcert resume r.csv --retry not_registered`" in ran["message"]
    assert [each["type"] for each in posts] == ["warning", "warning", "success", "failure"]
    assert verified["title"].startswith("bulkcert verify inactivate-device on")
    assert undone["message"].startswith("UNDONE: ")
    assert refused["title"].endswith(f"inactivate-device on {INSTANCE} ended with 65")
    assert str(tmp_path / "r.csv") in ran["message"]
    assert "DeviceSn is blank" in refused["message"]


def test_a_rehearsal_says_so(tmp_path, hook, run):
    """A rehearsal is how to try a URL; nobody takes its message for that of the real thing."""
    url, posts, _ = hook
    words = ("rehearse", "inactivate-device", "d.csv", "-o", "r.csv", "--yes", "--notify", url)
    here(*words, "--and-then", "verify", cwd=tmp_path).ended(0)

    assert [each["title"].partition(" inactivate")[0] for each in posts] == [
        "REHEARSAL: bulkcert run",
        "REHEARSAL: bulkcert verify",
    ]


def test_a_stop(tmp_path, service, hook, run):
    """SIGTERM: the message says that it stopped and how it is resumed."""
    url, posts, _ = hook
    calls = len(service.calls())
    with run("--preflight", "never", urls=[url], how=start, pace=("--rate", "2")) as child:
        wait_for(child, lambda: len(service.calls()) > calls)
        child.terminate()
        child.communicate()

    (post,) = posts
    assert post["title"].endswith("ended with 143")
    assert "SIGTERM" in post["message"]
    assert "next: To resume: `bulkcert resume r.csv`" in post["message"]
    assert child.returncode == 143


@pytest.mark.parametrize("how", ["refuses", "is not there", "is slow"])
def test_what_is_not_delivered_is_a_warning(tmp_path, hook, run, monkeypatch, how):
    """The exit status stays; the warning says how many have failed, and nothing of where they were to go."""
    url, _, answer = hook
    if how == "refuses":
        answer[0] = 500
    elif how == "is slow":
        monkeypatch.setattr(notify, "MOST_S", 0.0)
    bad = f"json://127.0.0.1:1/{TOKEN}" if how == "is not there" else url
    ended = run(urls=[bad]).ended(1)

    assert "warning: message 1 of 1, by JSON, was not delivered: " in ended.stderr
    assert ("no answer within" in ended.stderr) == (how == "is slow")
    assert TOKEN not in ended.stdout + ended.stderr


def test_two_urls(hook, run):
    """Each gets the message; one that fails keeps none from the others."""
    url, posts, _ = hook
    ended = run(urls=["json://127.0.0.1:1/x", url, url.replace("?", "/2?")]).ended(1)

    assert len(posts) == 2
    assert "message 1 of 3" in ended.stderr


@pytest.mark.parametrize(("where", "form"), [("option", "text"), ("environment", "json"), ("job", "text")])
def test_the_url_is_a_secret(tmp_path, hook, run, where, form):
    """It is in no file, no log, no error and no command that is printed, however it was given."""
    url, posts, answer = hook
    answer[0] = 500
    job = tmp_path.parent / f"{tmp_path.name}.toml"
    job.write_text(f'notify = ["{url}"]\n')
    more = {"option": ("--notify", url), "job": ("--job", job)}.get(where, ())
    said = run(*more, "-v", "--log-format", form, urls=[url] if where == "environment" else [])
    resumed = here("resume", "r.csv", "--retry", "not_registered", "--yes", *more, cwd=tmp_path)
    here("report", "r.csv", cwd=tmp_path)
    texts = [said.stdout, said.stderr, resumed.stdout, resumed.stderr]
    texts += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]

    assert posts
    assert not [text for text in texts if TOKEN in text]


def test_a_command_that_is_printed_again(tmp_path, hook, run):
    """What is to be typed again has no URL."""
    url, *_ = hook
    twice = run("--notify", url, url).ended(2)
    assert "wants a --notify of its own" in twice.stderr
    assert TOKEN not in twice.stderr
    (tmp_path / "r.csv.run").mkdir(mode=0o500)
    ended = run("--notify", url, "--state-dir", tmp_path / "none" / "x").ended(73)
    assert TOKEN not in ended.stderr


@pytest.mark.parametrize("url", [f"nonsense://{TOKEN}", TOKEN, f"dingtalk://{TOKEN}"])
def test_a_url_that_is_none(tmp_path, service, run, url):
    """It is refused before any call, without being shown."""
    calls = len(service.calls())
    ended = run(urls=["json://127.0.0.1:1", url]).ended(2)

    assert "number 2" in ended.stderr
    assert TOKEN not in ended.stderr
    assert len(service.calls()) == calls
    assert not (tmp_path / "r.csv.run").exists()


def test_without_the_extra(tmp_path, service, hook, run, monkeypatch):
    """The way to install it is printed before any call."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    calls = len(service.calls())
    ended = run(urls=[hook[0]]).ended(78)

    assert "pip install 'bulkcert[notify]'" in ended.stderr
    assert len(service.calls()) == calls


def test_nothing_is_loaded_without_it(tmp_path, run):
    """A run without messages never loads what sends them."""
    code = "import sys; sys.argv=['bulkcert','rehearse','inactivate-device','d.csv','-o','r.csv','--yes']\n"
    code += "from bulkcert.__main__ import main\ntry:\n    main()\nexcept SystemExit as e:\n    print(e.code)\n"
    code += "print('apprise' in sys.modules)"
    command = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert command.stdout.splitlines()[-2:] == ["0", "False"]


def test_a_question_that_stays_open(tmp_path, hook, monkeypatch):
    """Whoever started it and left is called back, once; an answer in time sends nothing."""
    url, posts, _ = hook
    files = made_run(tmp_path, ["failed"], [session(ended=1)])
    monkeypatch.setattr(notify, "ASKED_S", 0.01)
    read, write = os.pipe()
    asked = open(read)  # noqa: SIM115, PTH123
    monkeypatch.setattr(sys, "stdin", asked)

    def answer():
        wait_for(None, lambda: posts)
        os.write(write, b"y\n")

    with notify.Notifier([url], "run", files, print) as notifier:
        threading.Thread(target=answer).start()
        assert confirm._answer("Continue? ") == "y"
        monkeypatch.setattr(notify, "ASKED_S", 60.0)
        notifier.exit_status = 0
    asked.close()

    assert [each["title"].rpartition("made ")[2] for each in posts] == ["waits for a confirmation", "ended with 0"]
