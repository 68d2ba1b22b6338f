"""A finished run behind vLLM's OpenAI server, its elites as named models.

The adapters are given at the start; loading others at run time stays off, so nobody who
reaches the port can make the server read a path.
"""

import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lora_qd.engines import ServerSettings, VllmServer
from lora_qd.errors import InputError
from lora_qd.runs.engines import engine_settings
from lora_qd.runs.members import RunMembers

HOST = "127.0.0.1"
_POLL_S = 0.5

Ready = Callable[[str, tuple[str, ...]], None]
"""Called with the API's address and the models' names when the server answers."""


def serve(members: RunMembers, *, port: int, ready: Ready) -> None:
    """Serve the named members of a run on 127.0.0.1 until Ctrl-C or SIGTERM.

    Raises:
        InputError: the port is taken.
        EngineError: vLLM does not come up, or ends.
    """
    require_free(port)
    stop = threading.Event()

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="loraqd-") as scratch:
        settings = serve_settings(members, Path(scratch), port=port)
        try:
            with VllmServer(settings) as server:
                ready(f"{server.url}/v1", tuple(settings.lora_modules))
                while not stop.wait(_POLL_S):
                    server.require_alive()
        except KeyboardInterrupt:
            return


def serve_settings(
    members: RunMembers, directory: Path, *, port: int
) -> ServerSettings:
    """Write the named members below ``directory``; return how vLLM serves them."""
    modules = {}
    for name in members.results.members:
        modules[name] = directory / name
        members.export(name, modules[name])
    settings = engine_settings(members.config, members.space.bases)
    return replace(settings, lora_modules=modules, address=(HOST, port))


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
