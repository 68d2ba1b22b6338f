"""The part of the Hub's HTTP API that the real client needs for models.

The server listens on 127.0.0.1 only and holds its repos in memory. Revisions, trees,
whole and partial files, private and gated repos, uploads in one commit answer as the
Hub does. Not imitated: Xet, redirects to a CDN, uploads in parts, data sets, spaces.
"""

import hashlib
import json
import re
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.fakes import hub_uploads
from tests.fakes.hub_repo import TOKEN, HubRepo, HubServer, SeenRequest

__all__ = ["TOKEN", "HubRepo", "HubServer", "point_client_at", "running_hub"]


@contextmanager
def running_hub():
    """Yield a :class:`HubServer` on a free port; it ends with the block."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.hub = HubServer(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield http.hub
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def point_client_at(hub: HubServer, cache, monkeypatch) -> None:
    """Let this process's huggingface_hub talk to ``hub`` only, with a cache of its own.

    The client reads its environment when it is imported, which other tests did long
    before; hence its constants, and not variables, are set. Two of them hold the
    endpoint: the API asks one, the URLs of files are built from the other.
    """
    from huggingface_hub import close_session, constants

    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": (
            hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        ),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache / "token"),
    }
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    close_session()  # connections to the hub of an earlier test


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._route()

    def do_HEAD(self):
        self._route()

    def do_POST(self):
        self._route()

    def do_PUT(self):
        self._route()

    def log_message(self, *args):
        pass

    @property
    def hub(self) -> HubServer:
        return self.server.hub

    def _route(self):
        path = urlsplit(self.path).path
        seen = SeenRequest(self.command, path, dict(self.headers))
        self.hub.seen.append(seen)
        request = f"{self.command} {path}"
        fault = next((f for f in self.hub.faults if f.takes(request)), None)
        self._cut_after = None
        length = int(self.headers.get("Content-Length", 0))
        is_cut = fault is not None and fault.status is None
        if is_cut and length and not fault.is_late:
            seen.num_bytes = len(self.rfile.read(min(fault.after, length)))
            self._hang_up()
            return
        self.body = self.rfile.read(length)
        seen.num_bytes = length
        if self.hub.failure is not None:
            self.refuse(self.hub.failure, "", "the stub was told to fail")
            return
        if is_cut:
            self._cut_after = fault.after
        if fault and fault.status is not None:
            self._refuse_with(fault)
            return
        self._dispatch(path)

    def _dispatch(self, path):
        method = "GET" if self.command == "HEAD" else self.command
        routes = [*hub_uploads.ROUTES.get(method, ())]
        routes += _ROUTES if method == "GET" else ()
        for pattern, answer in routes:
            match = re.fullmatch(pattern, path)
            if match:
                parts = {k: unquote(v or "") for k, v in match.groupdict().items()}
                answer(self, **parts)
                return
        self.refuse(404, "", f"no such route: {path}")

    def _refuse_with(self, fault):
        headers = {"X-Error-Message": fault.message} | dict(fault.headers)
        body = json.dumps({"error": fault.message}).encode()
        self.answer(fault.status, body, headers)

    def _hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def writable(self, repo_id):
        """Return the repo if this login may write; answer with an error if not."""
        if not self.require_token():
            return None
        repo = self.hub.repos.get(repo_id)
        if repo is None:
            self.refuse(404, "RepoNotFound", "Repository not found")
        return repo

    def require_token(self):
        if not self._has_token():
            self.refuse(401, "", "Invalid username or password.")
        return self._has_token()

    def _info(self, repo_id, revision=""):
        found = self._find(repo_id, revision)
        if found:
            repo, commit = found
            siblings = [
                {"rfilename": name, "size": len(content)}
                for name, content in sorted(repo.files(commit).items())
            ]
            self.json(
                {
                    "id": repo_id,
                    "sha": commit,
                    "private": repo.is_private,
                    "cardData": repo.card,
                    "siblings": siblings,
                }
            )

    def _tree(self, repo_id, revision):
        found = self._find(repo_id, revision)
        if found:
            repo, commit = found
            self.json([_entry(n, c) for n, c in sorted(repo.files(commit).items())])

    def _file(self, repo_id, revision, name):
        found = self._find(repo_id, revision)
        if not found:
            return
        repo, commit = found
        if repo.is_gated and not self._has_token():
            self.refuse(401, "GatedRepo", f"Access to model {repo_id} is restricted.")
            return
        content = repo.files(commit).get(name)
        if content is None:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(name, content)}"'}
        self._content(content, headers)

    def _find(self, repo_id, revision):
        """Return the repo and the commit; answer with an error if there is none."""
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.is_private and not self._has_token()):
            status = 404 if self._has_token() else 401  # a secret is not told
            self.refuse(status, "RepoNotFound", "Repository not found")
            return None
        commit = repo.commit(revision or "main")
        if commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repo, commit

    def _has_token(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def json(self, value, status=200):
        content = json.dumps(value).encode()
        self.answer(status, content, {"Content-Type": "application/json"})

    def _content(self, content, headers):
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self.answer(200, content, {"Accept-Ranges": "bytes"} | headers)
            return
        first, last = int(asked[1]), int(asked[2] or len(content) - 1)
        part = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self.answer(206, content[first : last + 1], part | headers)

    def refuse(self, status, code, message):
        headers = {"X-Error-Message": message} | (
            {"X-Error-Code": code} if code else {}
        )
        self.answer(status, json.dumps({"error": message}).encode(), headers)

    def answer(self, status, content, headers):
        if self._cut_after is not None and self.command in ("POST", "PUT"):
            self._hang_up()  # it was done, but nobody learns of it
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self._cut_after is not None:
            self.wfile.write(content[: self._cut_after])
            self._hang_up()
            return
        self.wfile.write(content)


_REPO = r"(?P<repo_id>[^/]+/[^/]+)"
_ROUTES = (
    (rf"/api/models/{_REPO}(/revision/(?P<revision>[^/]+))?", _Handler._info),
    (rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)", _Handler._tree),
    (rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", _Handler._file),
)


def _entry(name, content):
    """Return a file as the tree lists it; safetensors lie in LFS, as on the Hub."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "oid": blob, "size": len(content), "path": name}
    if name.endswith(".safetensors"):
        oid = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
    return entry


def _etag(name, content):
    entry = _entry(name, content)
    return entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
