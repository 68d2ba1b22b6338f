"""The life of a vLLM server: start, readiness, failure with its last words, end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from lora_qd.engines.server_log import excerpt, read_log, remedy
from lora_qd.engines.server_settings import BASE_NAME, ServerSettings
from lora_qd.errors import EngineError

ADAPTERS_VARIABLE = "LORAQD_ADAPTERS"
"""Tells the server's own processes of its private directory for adapters."""
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_SOCKET_PATH_LIMIT = 100  # the kernel's is 108 bytes, its terminator included
_MEMORY_NEEDED = 2 * 2**30  # a dozen rank-16 adapters of an 8B model are 1 GiB
_GRACE_S = 10.0


class VllmServer:
    """A vLLM server that this process started; use it as a context manager.

    It listens on a Unix socket in a private directory unless the settings name an
    address. It ends with the block, and also when this process is killed. One that is
    stopped can be started again, until it is closed.
    """

    base_name = BASE_NAME
    """The model name under which it answers as the bare base."""

    def __init__(
        self,
        settings: ServerSettings,
        log: Path | None = None,
        *,
        adapter_root: Path | None = None,
    ) -> None:
        """Prepare a server; nothing is started yet.

        Args:
            settings: what to serve.
            adapter_root: where its directory of adapters is made; by default in memory
                if there is room.
            log: where vLLM writes its log; by default a temporary file that is kept
                only if the server fails.
        """
        self.settings = settings
        self.adapters = Path()
        """A private directory for adapters; a new one with every start."""
        self.log = log or Path()
        """Where vLLM writes."""
        self._keeps_log = log is not None
        self._adapter_root = adapter_root
        self._directory = Path()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._is_closed = False
        self._lock = threading.Lock()

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
        """Close the server."""
        self.close()

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
        """Start the server; it answers only after ``wait_ready``.

        Raises:
            EngineError: it is closed.
        """
        with self._lock:
            if self._is_closed:
                raise EngineError("expected an open vLLM server, but it is closed")
            self._launch()

    def _launch(self) -> None:
        self._directory = _private_directory()
        root = self._adapter_root or _memory_root()
        self.adapters = Path(tempfile.mkdtemp(prefix="loraqd-", dir=root))
        if not self._keeps_log:
            file, name = tempfile.mkstemp(prefix="loraqd-vllm-", suffix=".log")
            os.close(file)
            self.log = Path(name)
        is_cpu = _is_cpu()
        temporary = [str(self._directory), str(self.adapters)]
        ours = [sys.executable, "-I", str(_SUPERVISOR), str(os.getpid()), str(_GRACE_S)]
        command = self.settings.command(self.socket, is_cpu=is_cpu)
        with self.log.open("ab") as log:  # of a server that ended before, it is the end
            self._log_start = log.tell()
            self._supervisor = subprocess.Popen(
                [*ours, *temporary, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ
                | self.settings.environment(is_cpu=is_cpu)
                | {ADAPTERS_VARIABLE: str(self.adapters)},
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
                        self.failure(f"was silent for {patience}", "allow more time")
                    )
                time.sleep(0.1)

    def close(self) -> None:
        """Stop the server for good: a start that is under way in a thread fails."""
        self._is_closed = True
        self.stop()

    def stop(self) -> None:
        """End the server and everything it started; does nothing when it is not up."""
        with self._lock:
            if self._supervisor is not None:
                self._stop(self._supervisor)
                self._supervisor = None

    def _stop(self, supervisor: "subprocess.Popen[bytes]") -> None:
        pid = supervisor.pid
        deadline = time.monotonic() + _GRACE_S + 5
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            while not _has_ended(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            os.killpg(pid, signal.SIGKILL)  # not reaped yet, so the number is ours
        supervisor.wait()
        for directory in (self._directory, self.adapters):
            shutil.rmtree(directory, ignore_errors=True)
        if not self._keeps_log:
            self.log.unlink(missing_ok=True)

    def require_alive(self) -> None:
        """Check that the server's processes run.

        Raises:
            EngineError: they ended; the message shows the last log lines.
        """
        with self._lock:
            if self._supervisor is None:
                raise EngineError(
                    "expected a running vLLM server, but it is not started"
                )
            has_ended = _has_ended(self._supervisor.pid)
        if has_ended:
            raise EngineError(
                self.failure("ended", "mend what its log names, then repeat")
            )

    def client(self) -> httpx.AsyncClient:
        """Return a client whose calls go to this server; the caller closes it."""
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._uds),
            base_url=self.url,
            timeout=httpx.Timeout(self.settings.request_timeout_s, connect=10.0),
        )

    @property
    def url(self) -> str:
        """The base address of the API, without ``/v1``."""
        host, port = self.settings.address or ("vllm", 80)
        return f"http://{host}:{port}"

    def failure(self, fact: str, otherwise: str) -> str:
        """Return one line for ``fact``, then the telling part of the log and its path.

        The log is kept.

        Args:
            fact: what went wrong, to follow "but it".
            otherwise: the remedy, where the log does not tell of a better one.
        """
        self.keep_log()
        text = read_log(self.log, self._log_start)
        lines = "\n".join(f"  {line}" for line in excerpt(text))
        expected = f"expected vLLM to serve {self.settings.model}, but it {fact}"
        what_to_do = remedy(text, otherwise=otherwise)
        return f"{expected}; {what_to_do}\nlast lines of {self.log}:\n{lines}"

    @property
    def where(self) -> str:
        """Where to read more, to end a sentence; the log is kept."""
        return f"its log is {self.keep_log()}"

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


def _memory_root() -> str:
    """Return where adapters go: memory if there is room, as containers may lack."""
    memory = "/dev/shm"
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= _MEMORY_NEEDED:
        return memory
    return tempfile.gettempdir()
