"""The browser itself: it sees what a page does, and reaches 127.0.0.1 only."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

PAGES = {
    "/": "<!doctype html><title>here</title><link rel=icon href=data:,><p>hello",
    "/outside": "<!doctype html><link rel=icon href=data:,>"
    '<img src="http://example.org/x.png"><img src="http://192.0.2.1/y.png">'
    '<script src="https://localhost.example/z.js"></script>',
    "/broken": "<!doctype html><link rel=icon href=data:,>"
    '<script>console.error("told"); throw new Error("thrown")</script>',
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = PAGES[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_local_page_is_shown_without_errors(page, seen, site):
    page.goto(f"{site}/")
    assert page.title() == "here"
    assert page.inner_text("p") == "hello"
    assert seen.errors == []
    assert seen.hosts == {"127.0.0.1"}


def test_no_other_host_is_reached_and_each_that_is_asked_is_noticed(page, seen, site):
    page.goto(f"{site}/outside")
    outside = {"example.org", "192.0.2.1", "localhost.example"}
    assert seen.hosts == {"127.0.0.1", *outside}
    assert len(seen.errors) == len(outside)
    assert all("ERR_NAME_NOT_RESOLVED" in error for error in seen.errors)


def test_what_a_script_says_and_throws_is_noticed(page, seen, site):
    page.goto(f"{site}/broken")
    assert any("told" in error for error in seen.errors)
    assert any("thrown" in error for error in seen.errors)
