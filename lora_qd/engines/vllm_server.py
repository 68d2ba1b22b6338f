"""The life of a vLLM server: start, readiness, failure with its last words, end."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from lora_qd.engines.server_settings import ServerSettings
from lora_qd.errors import EngineError

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_SOCKET_PATH_LIMIT = 100  # the kernel's is 108 bytes, its terminator included
_MEMORY_NEEDED = 256 * 2**20
_GRACE_S = 10.0
_NUM_LAST_LINES = 12
_ERROR = re.compile(r"(?:^|\s)((?:[\w.]*\.)?\w+(?:Error|Exception): .*)")


class VllmServer:
    """A vLLM server that this process started; use it as a context manager.

    It listens on a Unix socket in a private directory unless the settings name an
    address. It ends with the block, and also when this process is killed.
    """

    def __init__(self, settings: ServerSettings, log: Path | None = None) -> None:
        """Prepare a server; nothing is started yet.

        Args:
            settings: what to serve.
            log: where vLLM writes its log; by default a temporary file that is kept
                only if the server fails.
        """
        self.settings = settings
        self.adapters = Path()
        """A private directory for adapters, in memory if there is room."""
        self.log = log or Path()
        """Where vLLM writes."""
        self._keeps_log = log is not None
        self._directory = Path()
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server and wait until it answers."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            EngineError: it ended, or was silent for ``start_timeout_s``; the message
                shows its last log lines.
        """
        self.launch()
        try:
            self.wait_ready()
        except BaseException:  # also Ctrl-C: no server without somebody to stop it
            self.stop()
            raise

    def launch(self) -> None:
        """Start the server; it answers only after ``wait_ready``."""
        self._directory = _private_directory()
        self.adapters = Path(tempfile.mkdtemp(prefix="loraqd-", dir=_adapter_root()))
        if not self._keeps_log:
            file, name = tempfile.mkstemp(prefix="loraqd-vllm-", suffix=".log")
            os.close(file)
            self.log = Path(name)
        is_cpu = _is_cpu()
        temporary = [str(self._directory), str(self.adapters)]
        ours = [sys.executable, "-I", str(_SUPERVISOR), str(os.getpid()), str(_GRACE_S)]
        command = self.settings.command(self.socket, is_cpu=is_cpu)
        with self.log.open("wb") as log:
            self._supervisor = subprocess.Popen(
                [*ours, *temporary, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.settings.environment(is_cpu=is_cpu),
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            EngineError: as in ``start``.
        """
        deadline = time.monotonic() + self.settings.start_timeout_s
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=self._uds), base_url=self.url, timeout=5.0
        ) as client:
            while not (self._is_listening() and _is_healthy(client)):
                self.require_alive()
                if time.monotonic() > deadline:
                    patience = f"{self.settings.start_timeout_s:g} s"
                    raise EngineError(
                        self.failure(f"was silent for {patience}; allow more time")
                    )
                time.sleep(0.1)

    def stop(self) -> None:
        """End the server and everything it started; does nothing when it is not up."""
        if self._supervisor is None:
            return
        pid = self._supervisor.pid
        deadline = time.monotonic() + _GRACE_S + 5
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            while not _has_ended(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            os.killpg(pid, signal.SIGKILL)  # not reaped yet, so the number is ours
        self._supervisor.wait()
        self._supervisor = None
        for directory in (self._directory, self.adapters):
            shutil.rmtree(directory, ignore_errors=True)
        if not self._keeps_log:
            self.log.unlink(missing_ok=True)

    def require_alive(self) -> None:
        """Check that the server's processes run.

        Raises:
            EngineError: they ended; the message shows the last log lines.
        """
        if self._supervisor is None:
            raise EngineError("expected a running vLLM server, but it is not started")
        if _has_ended(self._supervisor.pid):
            raise EngineError(
                self.failure("ended; mend what its log names, then repeat")
            )

    def client(self) -> httpx.AsyncClient:
        """Return a client whose calls go to this server; the caller closes it."""
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._uds),
            base_url=self.url,
            timeout=httpx.Timeout(None, connect=10.0),  # a long answer is no failure
        )

    @property
    def url(self) -> str:
        """The base address of the API, without ``/v1``."""
        host, port = self.settings.address or ("vllm", 80)
        return f"http://{host}:{port}"

    def failure(self, fact: str) -> str:
        """Return one line for ``fact``, then the telling part of the log and its path.

        The log is kept.
        """
        self.keep_log()
        lines = "\n".join(f"  {line}" for line in log_excerpt(self.log))
        expected = f"expected vLLM to serve {self.settings.model}, but it {fact}"
        return f"{expected}\nlast lines of {self.log}:\n{lines}"

    def keep_log(self) -> Path:
        """Return the log's path; the file outlives the server from here on."""
        self._keeps_log = True
        return self.log

    @property
    def pid(self) -> int:
        """The leader of the process group in which all of the server runs; 0: none."""
        return self._supervisor.pid if self._supervisor else 0

    @property
    def socket(self) -> Path:
        """Where it listens, unless the settings name an address."""
        return self._directory / "s"

    def _is_listening(self) -> bool:
        # httpx leaves a socket open whenever a connection is refused.
        if self.settings.address is None:
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(self.socket)) == 0
        with socket.socket() as probe:
            return probe.connect_ex(self.settings.address) == 0

    @property
    def _uds(self) -> str | None:
        return str(self.socket) if self.settings.address is None else None


def log_excerpt(log: Path) -> list[str]:
    """Return the last lines of a vLLM log, preceded by the first error it reports.

    The cause of a failed start is often far above the end of the log.
    """
    text = log.read_text(errors="replace") if log.is_file() else ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    last = lines[-_NUM_LAST_LINES:]
    errors = (match.group(1) for line in lines if (match := _ERROR.search(line)))
    first = next(errors, None)
    if first is None or any(first in line for line in last):
        return last
    return [first, "...", *last]


def _is_healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _has_ended(pid: int) -> bool:
    """Whether our child has ended; it is not reaped, so that its number stays ours."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, options) is not None


def _is_cpu() -> bool:
    import torch

    return not torch.cuda.is_available()


def _private_directory() -> Path:
    """Make a directory of mode 0700 whose path leaves room for a socket's name."""
    roots = (os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", tempfile.gettempdir())
    for root in roots:
        if os.access(root, os.W_OK) and len(root) < _SOCKET_PATH_LIMIT - 20:
            return Path(tempfile.mkdtemp(prefix="loraqd-", dir=root))
    raise EngineError(
        "expected a directory for a Unix socket, but none of "
        f"{', '.join(filter(None, roots))} is writable and short; set XDG_RUNTIME_DIR "
        f"to a writable directory of less than {_SOCKET_PATH_LIMIT - 20} characters"
    )


def _adapter_root() -> str:
    """Return where adapters go: memory if there is room, as containers may lack."""
    memory = "/dev/shm"
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= _MEMORY_NEEDED:
        return memory
    return tempfile.gettempdir()
