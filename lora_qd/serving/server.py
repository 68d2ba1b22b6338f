"""A finished run behind vLLM's OpenAI server, its members as named models.

Those with a name are given at the start; any other member is made when somebody asks
for it (``plugin``), and what may be asked at all is decided before vLLM (``guard``).
"""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lora_qd.engines import ServerSettings, VllmServer
from lora_qd.errors import InputError
from lora_qd.runs.engines import engine_settings
from lora_qd.runs.run import Run
from lora_qd.serving.plugin import RUN_VARIABLE
from lora_qd.store.files import new_directory

HOST = "127.0.0.1"
_GUARD = "lora_qd.serving.guard.Guard"
_PLUGIN = "loraqd"
_POLL_S = 0.5

Ready = Callable[[str, tuple[str, ...]], None]
"""Called with the API's address and the models' names when the server answers."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is reached."""

    port: int | None = None
    """Of 127.0.0.1; None: a Unix socket in a private directory."""
    api_key: str | None = None
    """What clients must show; None: nothing."""


def serve(run: Run, access: Access, *, ready: Ready) -> None:
    """Serve the members of a finished run until Ctrl-C or SIGTERM.

    Raises:
        InputError: the port is taken, or the run is not finished.
        EngineError: vLLM does not come up, or ends.
    """
    if access.port is not None:
        require_free(access.port)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="loraqd-") as scratch:
        settings = serve_settings(run, Path(scratch), access)
        try:
            with VllmServer(settings) as server:
                ready(f"{server.url}/v1", tuple(settings.lora_modules))
                while not stop.wait(_POLL_S):
                    server.require_alive()
        except KeyboardInterrupt:
            return


def serve_settings(run: Run, directory: Path, access: Access) -> ServerSettings:
    """Write the named members below ``directory``; return how vLLM serves the run.

    Raises:
        InputError: the run is not finished.
    """
    settings = named_settings(run, directory)
    variables = {
        RUN_VARIABLE: str(run.directory.path.absolute()),
        # A command line is seen by all. Without a key none that vLLM would inherit.
        "VLLM_API_KEY": access.api_key or "",
        # An answer in the background outlives its request, by which members are kept.
        "VLLM_ENABLE_RESPONSES_API_STORE": "0",
    }
    if "VLLM_PLUGINS" in os.environ:
        variables["VLLM_PLUGINS"] = f"{os.environ['VLLM_PLUGINS']},{_PLUGIN}"
    return replace(
        settings,
        address=None if access.port is None else (HOST, access.port),
        guard=_GUARD,
        variables=variables,
        prefix_caching=True,  # conversations repeat their beginning
    )


def named_settings(run: Run, directory: Path) -> ServerSettings:
    """Write the named members below ``directory``; return how any vLLM serves them.

    Raises:
        InputError: the run is not finished.
    """
    run.directory.require_finished()
    names = run.results.members if run.results else {}
    modules = {name: directory / name for name in names}
    for name, path in modules.items():
        run.export(name, path)
    settings = engine_settings(run.config, run.space.bases)
    return replace(settings, lora_modules=modules)


def export_named(run: Run) -> ServerSettings:
    """Write the named members to RUN/adapters; return how any vLLM serves them.

    Raises:
        InputError: the run is not finished.
        StoreError: the disk refuses; an earlier directory stays as it is.
    """
    final = run.directory.path.absolute() / "adapters"
    with new_directory(final, replace=True) as beside:
        settings = named_settings(run, beside)
    modules = {name: final / name for name in settings.lora_modules}
    return replace(settings, lora_modules=modules)


def require_free(port: int) -> None:
    """Refuse a port that another process listens on.

    Raises:
        InputError: it is taken, or no port number.
    """
    try:
        with socket.create_server((HOST, port)):
            return
    except (OSError, OverflowError) as error:
        raise InputError(
            f"expected port {port} of {HOST} to be free, but got: {error}; choose "
            "another with --port"
        ) from error
