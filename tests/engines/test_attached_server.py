"""Somebody else's server: what must be wrong with it before we refuse it."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lora_qd.engines import AttachedServer, VllmEngine, VllmServer, attached_server
from lora_qd.engines.chat import ChatFormat
from lora_qd.errors import EngineError
from tests.engines.members import NoiseWriter, ask, noise_member
from tests.tiny_base import server_settings

HEALTHY = {"id": "some-name", "max_model_len": 256, "parent": None}


@contextmanager
def answering(models, tokens=(), *, status=200, key=None):
    """Serve ``/v1/models`` and ``/tokenize`` on a free port; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if key and self.headers.get("Authorization") != f"Bearer {key}":
                self.say(401, {})
            else:
                self.say(status, {"data": models} if models is not None else [])

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(200, {"tokens": list(tokens)})

        def say(self, code, body):
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch):
    monkeypatch.setattr(attached_server, "_FIRST_PATIENCE_S", 0.2)
    monkeypatch.setattr(attached_server, "_POLL_S", 0.05)


@pytest.fixture
def attach(tiny_base, tmp_path):
    def attached(url, **options):
        directory = options.pop("directory", tmp_path / "adapters")
        settings = server_settings(tiny_base)
        return AttachedServer(url, settings, directory, **options)

    return attached


@pytest.fixture
def tokens(tiny_base):
    return ChatFormat(str(tiny_base)).encode(attached_server._PROBE)


def test_a_server_with_our_base_is_taken_by_its_name(attach, tokens, tiny_base):
    models = [
        {"id": "x", "root": "/a/adapter", "parent": "some-name"},
        HEALTHY | {"root": f"/elsewhere/{tiny_base.name}"},
    ]
    with answering(models, tokens) as url, attach(f"{url}/v1") as server:
        assert server.base_name == "some-name"
        assert server.adapters.is_dir()
        adapters = server.adapters
    assert not adapters.exists()


def test_a_url_where_nobody_answers(attach):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    message = rf"127.0.0.1:{port} to serve .* out of reach \(ConnectError\); start it"
    with pytest.raises(EngineError, match=message):
        attach(f"http://127.0.0.1:{port}").start()


def test_a_server_of_another_model(attach, tokens):
    models = [HEALTHY | {"id": "gemma", "root": "google/gemma"}]
    with (
        answering(models, tokens) as url,
        pytest.raises(EngineError, match="it serves google/gemma; name its base"),
    ):
        attach(url).start()


def test_a_server_of_another_vocabulary(attach, tiny_base):
    models = [HEALTHY | {"root": tiny_base.name}]
    with (
        answering(models, [1, 2, 3]) as url,
        pytest.raises(EngineError, match="another vocabulary or chat template"),
    ):
        attach(url).start()


def test_a_server_of_shorter_context(attach, tokens, tiny_base):
    models = [HEALTHY | {"root": tiny_base.name, "max_model_len": 128}]
    with (
        answering(models, tokens) as url,
        pytest.raises(EngineError, match="takes 128 tokens, not 256; lower"),
    ):
        attach(url).start()


def test_a_server_that_is_no_vllm(attach):
    with (
        answering(None) as url,
        pytest.raises(EngineError, match="answers /v1/models as no vLLM does"),
    ):
        attach(url).start()


def test_a_server_that_only_fails(attach):
    with (
        answering([], status=503) as url,
        pytest.raises(EngineError, match="answered /v1/models with 503; start it"),
    ):
        attach(url).start()


def test_a_key_comes_from_the_variable_that_is_named(
    attach, tokens, tiny_base, monkeypatch
):
    monkeypatch.setenv("SOME_KEY", "secret")
    models = [HEALTHY | {"root": tiny_base.name}]
    with answering(models, tokens, key="secret") as url:
        with pytest.raises(EngineError, match="wants a key; .*api_key_env"):
            attach(url).start()
        with attach(url, api_key_variable="SOME_KEY") as server:
            assert server.base_name


def test_a_directory_that_cannot_be_written(attach, tokens, tiny_base, tmp_path):
    (tmp_path / "file").write_text("")
    models = [HEALTHY | {"root": tiny_base.name}]
    with (
        answering(models, tokens) as url,
        pytest.raises(EngineError, match="to write adapters in .*engine.adapter_dir"),
    ):
        attach(url, directory=tmp_path / "file" / "x").start()


@pytest.mark.slow
def test_a_real_server_answers_by_its_url_as_over_its_socket(
    tiny_base, tmp_path, vllm_server, monkeypatch
):
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    settings = server_settings(tiny_base, address=address)
    questions = ask(*[f"What is {n}?" for n in range(8)])
    members = [None, noise_member(1), noise_member(2)]

    async def answers(server):
        async with VllmEngine(server, NoiseWriter()) as engine:
            for member in members[1:]:
                await engine.add(member)
            return [await engine.generate(m, questions) for m in members]

    with (
        VllmServer(settings) as running,
        AttachedServer(running.url, settings, tmp_path / "shared") as attached,
    ):
        by_url = asyncio.run(answers(attached))
    assert by_url == asyncio.run(answers(vllm_server))
    assert list((tmp_path / "shared").iterdir()) == []
