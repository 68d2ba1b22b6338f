"""An HTTP server on 127.0.0.1 that answers as a test says, and who asks it."""

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lora_qd.engines import ChatEndpoint
from lora_qd.records import Message, Request

KEY = "sk-a-key-of-the-tests"


class PlayedServer(ThreadingHTTPServer):
    """Gives each request to ``play(body)``, which returns status, body and headers."""

    daemon_threads = True

    def __init__(self, play):
        super().__init__(("127.0.0.1", 0), PlayedHandler)
        self.play = play
        self.asked = []
        self.headers = []
        self.num_in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *arguments):
        """Say nothing of clients that did not wait."""


class PlayedHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append((self.path, body))
            server.headers.append({n.lower(): v for n, v in self.headers.items()})
            server.num_in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.num_in_flight)
        try:
            played = server.play(body)
        finally:
            with server.lock:
                server.num_in_flight -= 1
        if played is None:  # the connection drops
            self.close_connection = True
            return
        status, content, headers = (*played, {})[:3]
        content = (
            content if isinstance(content, bytes) else json.dumps(content).encode()
        )
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@contextmanager
def playing(play):
    server = PlayedServer(play)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(text, finish="stop", **more):
    choice = {"index": 0, "message": {"content": text}, "finish_reason": finish}
    return {
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        **more,
    }


def echo(body):
    return 200, answer(f"re: {body['messages'][-1]['content']}")


def request(text="hello", **options):
    return Request((Message("user", text),), 16, **options)


def ask(url, *requests, member=None, **options):
    async def main():
        options.setdefault("api_key", KEY)
        async with ChatEndpoint(url, "m-1", **options) as engine:
            return await engine.generate(member, requests)

    return asyncio.run(main())


def ask_one(play, one=None, **options):
    with playing(play) as server:
        (completion,) = ask(server.url, one or request(), **options)
    return completion, server
