"""What the stub of the Hub keeps: repositories, what was asked, and what goes wrong."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import yaml

TOKEN = "hf_a_token_of_the_tests"
USER = "owner"


@dataclass
class HubRepo:
    """A model repo: the files of each revision, by name."""

    revisions: dict[str, Mapping[str, bytes]]
    is_private: bool = False
    is_gated: bool = False
    ignored: frozenset[str] = frozenset()
    """Files that its .gitignore names: a commit drops them without a word."""
    num_commits: int = 0

    def commit(self, revision: str) -> str | None:
        """Return the commit of a branch, tag or commit; None if there is none."""
        commits = {name: self._hash(name) for name in self.revisions}
        return commits.get(revision, revision if revision in commits.values() else None)

    def files(self, commit: str) -> Mapping[str, bytes]:
        return next(
            f for name, f in self.revisions.items() if self._hash(name) == commit
        )

    @property
    def main(self) -> Mapping[str, bytes]:
        return self.revisions["main"]

    @property
    def card(self) -> Mapping[str, object]:
        """The metadata at the top of its model card."""
        text = self.main.get("README.md", b"").decode()
        match = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        return yaml.safe_load(match[1]) if match else {}

    def move(self, files: Mapping[str, bytes]) -> str:
        """Make ``files`` the newest commit; the one before stays readable."""
        self.revisions[self._hash("main")] = self.main
        self.revisions["main"] = dict(files)
        self.num_commits += 1
        return self._hash("main")

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
    num_bytes: int = 0
    """Of its body, as far as it was read."""


@dataclass
class Fault:
    """What goes wrong, for the next ``times`` requests that match."""

    pattern: str
    """Searched in ``METHOD /path``."""
    status: int | None = None
    """What is answered; None: the connection is cut."""
    message: str = "the stub was told to fail"
    headers: Mapping[str, str] = field(default_factory=dict)
    after: int = 0
    """Bytes of the body that pass before a connection is cut."""
    times: int = 1
    is_late: bool = False
    """Whether the request has its effect before it fails."""

    def takes(self, request: str) -> bool:
        """Tell whether this request fails, and count it."""
        if self.times <= 0 or not re.search(self.pattern, request):
            return False
        self.times -= 1
        return True


@dataclass
class HubServer:
    """A running stub: set ``repos``, point a client at ``url``, look at ``seen``."""

    url: str
    repos: dict[str, HubRepo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256, also before any commit names them."""
    seen: list[SeenRequest] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    failure: int | None = None
    """A status that every request is answered with; None to answer as the Hub."""

    def add(self, repo_id: str, files: Mapping[str, bytes], **flags: bool) -> HubRepo:
        """Add a repo with one revision, ``main``."""
        self.repos[repo_id] = HubRepo({"main": dict(files)}, **flags)
        return self.repos[repo_id]

    def fail(self, pattern: str, status: int | None = None, **rest: object) -> Fault:
        """Let the next requests that match ``pattern`` fail; see :class:`Fault`."""
        self.faults.append(Fault(pattern, status, **rest))
        return self.faults[-1]

    def fetched(self) -> set[str]:
        """Return the names of the files whose content was asked for."""
        paths = [r.path for r in self.seen if r.method == "GET"]
        matches = [re.match(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", p) for p in paths]
        return {unquote(match[1]) for match in matches if match}

    def num_bytes(self, method: str, path: str = "") -> int:
        """Return the bytes of all bodies sent by ``method`` to ``path...``."""
        return sum(
            r.num_bytes
            for r in self.seen
            if r.method == method and r.path.startswith(path)
        )

    def environment(self, home) -> dict[str, str]:
        """Return the variables with which a child process talks to this hub only."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": TOKEN,
        }
