"""A chat through a pipe with a served run, played by a small server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from lora_qd.cli.main import app
from lora_qd.errors import EngineError, InputError
from tests.runs import synthetic


class Played(BaseHTTPRequestHandler):
    """Answers with the member's name and all that was said; remembers orders."""

    orders: list = []  # noqa: RUF012 - one list for all requests of a test

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.orders.append((self.path, self.headers.get("authorization"), order))
        said = "/".join(m["content"] for m in order["messages"] if m["role"] == "user")
        status = 404 if "refuse" in said else 200
        pieces = (f"{order['model']} heard ", said, "\x1b[31m")
        events = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
        body = (
            "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"
        )
        if status == 404:
            body = json.dumps({"error": {"message": "expected a member, but got none"}})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    Played.orders.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Played) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = synthetic.config(tmp_path_factory.mktemp("runs"), search__children=12)
    synthetic.run(config)
    return config.run


def chat(run, url, questions, *options):
    done = CliRunner().invoke(
        app,
        ["chat", str(run), "--url", url, *options],
        input=questions,
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_each_line_is_a_question_and_has_one_answer(run, url):
    lines = chat(run, url, "one\n\ntwo\n/clear\nthree\n/quit\nfour\n")
    heard = ("one", "one/two", "three")
    assert lines == [f"balanced heard {said}[31m" for said in heard]


def test_two_members_answer_and_each_has_its_own_history(run, url):
    members = ("--member", "code", "--member", "base")
    lines = chat(run, url, "one\n/member base shell\ntwo\n", *members)
    assert lines == [
        "code: code heard one[31m",
        "base: base heard one[31m",
        "base: base heard one/two[31m",
        "shell: shell heard two[31m",
    ]


def test_options_and_key_reach_the_server(run, url):
    options = ("--system", "Be brief", "--max-tokens", "7", "--temperature", "0.5")
    chat(run, f"{url}/v1/", "one\n", *options, "--api-key", "secret")
    path, key, order = Played.orders[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert (order["max_tokens"], order["temperature"]) == (7, 0.5)
    assert order["messages"][0] == {"role": "system", "content": "Be brief"}


def test_what_only_looks_like_a_command_is_a_question(run, url):
    lines = chat(run, url, "/data has what?\n/clear the table\n/members\n")
    assert lines[0] == "balanced heard /data has what?[31m"
    assert lines[1].endswith("/data has what?//clear the table[31m")
    assert lines[2].endswith("//members[31m")


def test_a_refusal_ends_a_pipe(run, url):
    with pytest.raises(EngineError, match="expected a member, but got none"):
        chat(run, url, "refuse\nmore\n")
    assert len(Played.orders) == 1


@pytest.mark.parametrize("names", ["", "a b c d e"])
def test_a_number_of_members_that_cannot_be_shown_is_refused(run, url, names):
    with pytest.raises(InputError, match="expected one to 4 members side by side"):
        chat(run, url, f"/member {names}\n")


def test_nobody_is_refused_before_a_server_is_started(run):
    with pytest.raises(InputError, match="expected a member of .*, but got 'nobody'"):
        chat(run, "http://127.0.0.1:9", "one\n", "--member", "nobody")
    assert Played.orders == []


def test_a_server_that_is_not_there_is_one_line(run):
    with pytest.raises(EngineError, match="is the server still there"):
        chat(run, "http://127.0.0.1:9", "one\n")
