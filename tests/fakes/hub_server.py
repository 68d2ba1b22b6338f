"""The part of the Hub's HTTP API that the real client needs to download models.

The server listens on 127.0.0.1 only and holds its repos in memory. Revisions, trees,
whole and partial files, private and gated repos answer as the Hub does. Not imitated:
uploads, Xet, redirects to a CDN, data sets, spaces.
"""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_a_token_of_the_tests"


@dataclass
class HubRepo:
    """A model repo: the files of each revision, by name."""

    revisions: dict[str, Mapping[str, bytes]]
    is_private: bool = False
    is_gated: bool = False

    def commit(self, revision: str) -> str | None:
        """Return the commit of a branch, tag or commit; None if there is none."""
        commits = {name: self._hash(name) for name in self.revisions}
        return commits.get(revision, revision if revision in commits.values() else None)

    def files(self, commit: str) -> Mapping[str, bytes]:
        return next(
            f for name, f in self.revisions.items() if self._hash(name) == commit
        )

    def _hash(self, name: str) -> str:
        digest = hashlib.sha1()
        for path, content in sorted(self.revisions[name].items()):
            digest.update(path.encode() + b"\0" + content)
        return digest.hexdigest()


@dataclass
class SeenRequest:
    """What a client asked for."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class HubServer:
    """A running stub: set ``repos``, point a client at ``url``, look at ``seen``."""

    url: str
    repos: dict[str, HubRepo] = field(default_factory=dict)
    seen: list[SeenRequest] = field(default_factory=list)
    failure: int | None = None
    """A status that every request is answered with; None to answer as the Hub."""

    def add(self, repo_id: str, files: Mapping[str, bytes], **flags: bool) -> HubRepo:
        """Add a repo with one revision, ``main``."""
        self.repos[repo_id] = HubRepo({"main": dict(files)}, **flags)
        return self.repos[repo_id]

    def fetched(self) -> set[str]:
        """Return the names of the files whose content was asked for."""
        paths = [r.path for r in self.seen if r.method == "GET"]
        matches = [re.match(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", p) for p in paths]
        return {unquote(match[1]) for match in matches if match}


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

    def log_message(self, *args):
        pass

    @property
    def hub(self) -> HubServer:
        return self.server.hub

    def _route(self):
        path = urlsplit(self.path).path
        self.hub.seen.append(SeenRequest(self.command, path, dict(self.headers)))
        if self.hub.failure is not None:
            self._refuse(self.hub.failure, "", "the stub was told to fail")
            return
        for pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                parts = {k: unquote(v or "") for k, v in match.groupdict().items()}
                answer(self, **parts)
                return
        self._refuse(404, "", f"no such route: {path}")

    def _info(self, repo_id, revision=""):
        found = self._find(repo_id, revision)
        if found:
            repo, commit = found
            siblings = [{"rfilename": name} for name in sorted(repo.files(commit))]
            self._json({"id": repo_id, "sha": commit, "siblings": siblings})

    def _tree(self, repo_id, revision):
        found = self._find(repo_id, revision)
        if found:
            repo, commit = found
            self._json([_entry(n, c) for n, c in sorted(repo.files(commit).items())])

    def _file(self, repo_id, revision, name):
        found = self._find(repo_id, revision)
        if not found:
            return
        repo, commit = found
        if repo.is_gated and not self._has_token():
            self._refuse(401, "GatedRepo", f"Access to model {repo_id} is restricted.")
            return
        content = repo.files(commit).get(name)
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(name, content)}"'}
        self._content(content, headers)

    def _find(self, repo_id, revision):
        """Return the repo and the commit; answer with an error if there is none."""
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.is_private and not self._has_token()):
            status = 404 if self._has_token() else 401  # a secret is not told
            self._refuse(status, "RepoNotFound", "Repository not found")
            return None
        commit = repo.commit(revision or "main")
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repo, commit

    def _has_token(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _json(self, value):
        content = json.dumps(value).encode()
        self._answer(200, content, {"Content-Type": "application/json"})

    def _content(self, content, headers):
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, content, {"Accept-Ranges": "bytes"} | headers)
            return
        first, last = int(asked[1]), int(asked[2] or len(content) - 1)
        part = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._answer(206, content[first : last + 1], part | headers)

    def _refuse(self, status, code, message):
        headers = {"X-Error-Message": message} | (
            {"X-Error-Code": code} if code else {}
        )
        self._answer(status, json.dumps({"error": message}).encode(), headers)

    def _answer(self, status, content, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
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
