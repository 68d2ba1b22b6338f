"""The live page's server on a free port, in a thread of the test."""

import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from lora_qd.dashboard.app import HOST, application
from lora_qd.dashboard.board import Board
from lora_qd.dashboard.prompts import Prompts
from lora_qd.runs.following import Follower


@contextmanager
def serving(run, prompts=None):
    """Yield the address of the page of a run, and the board behind it."""
    board = Board(Follower(run.directory))
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        app = application(board, prompts or Prompts(), port=port)
        settings = uvicorn.Config(
            app, log_level="critical", timeout_graceful_shutdown=1, lifespan="off"
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        looking = board.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://{HOST}:{port}", board
        finally:
            board.stop()
            server.should_exit = True
            thread.join()
            looking.join()
