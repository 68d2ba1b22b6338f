"""Serving the live page on 127.0.0.1 until Ctrl-C."""

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lora_qd.dashboard.board import Board
from lora_qd.dashboard.prompts import Prompts
from lora_qd.errors import InputError, MissingExtraError
from lora_qd.runs.following import Follower
from lora_qd.store.run_directory import RunDirectory


def watch(
    run: Path, *, port: int, ready: Callable[[str], None], allow: bool = False
) -> None:
    """Serve the page of a run until Ctrl-C or SIGTERM; the run is only read.

    Args:
        run: the run's directory.
        port: of 127.0.0.1; 0 takes a free one.
        ready: called with the page's address when it can be opened.
        allow: the consent to what a skill executes when its samples are read.

    Raises:
        InputError: there is no run, or the port is taken.
        StoreError: the ledger cannot be read.
        MissingExtraError: the web server is not installed.
    """
    try:
        import uvicorn

        from lora_qd.dashboard.app import HOST, application
    except ImportError as error:
        raise MissingExtraError("watching a run", "watch") from error
    board = Board(Follower(RunDirectory(run)))
    with _listening(HOST, port) as listener:
        port = listener.getsockname()[1]
        app = application(board, Prompts(allow=allow), port=port)
        settings = uvicorn.Config(
            app, log_level="critical", server_header=False, timeout_graceful_shutdown=1
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        board.start()
        ready(f"http://{HOST}:{port}/")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(settings).run(sockets=[listener])
        board.stop()


def _listening(host: str, port: int) -> socket.socket:
    remedy = "choose another with --port"
    if not 0 <= port <= 65535:
        raise InputError(f"expected a port from 0 to 65535, but got {port}; {remedy}")
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise InputError(
            f"expected port {port} of {host} to be free, but got: {error}; {remedy}"
        ) from error
