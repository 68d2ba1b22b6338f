"""A run's members as vLLM's adapters; vLLM loads this wherever loraqd is installed.

It does nothing unless ``LORAQD_SERVE_RUN`` names a run. Everything else is imported
when the first request comes, since each of vLLM's processes calls :func:`register`.
"""

import atexit
import os
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_qd.serving.shelf import Shelf

RUN_VARIABLE = "LORAQD_SERVE_RUN"
"""The run whose members are served by their names."""
_LEAST_CAPACITY = 16
_opening = threading.Lock()


def register() -> None:
    """Let vLLM ask for members of the run that the environment names."""
    if os.environ.get(RUN_VARIABLE):
        from lora_qd.engines.resolver import register as register_resolver

        register_resolver(lambda name: shelf().find(name))


def shelf() -> "Shelf":
    """Return the members of that run as adapters; the same for all threads.

    Raises:
        InputError: there is no run.
        StoreError: it is damaged.
    """
    with _opening:
        return _open()


@cache
def _open() -> "Shelf":
    from lora_qd.engines.vllm_server import ADAPTERS_VARIABLE
    from lora_qd.errors import InputError
    from lora_qd.runs.members import adapter_writer
    from lora_qd.runs.run import Run
    from lora_qd.serving.shelf import Shelf

    path = os.environ.get(RUN_VARIABLE)
    if not path:
        raise InputError(
            f"expected {RUN_VARIABLE} to name a run, but it is not set; set it for vLLM"
        )
    run = Run.open(path)
    write = adapter_writer(run.space, run.config)
    root = os.environ.get(ADAPTERS_VARIABLE)
    if not root:  # a vLLM that somebody else started
        root = tempfile.mkdtemp(prefix="loraqd-")
        atexit.register(shutil.rmtree, root, ignore_errors=True)
    engine = run.config.engine
    return Shelf(
        lambda name, directory: directory / write(run.member(name), directory),
        Path(root),
        capacity=max(_LEAST_CAPACITY, 4 * (engine.max_loras + engine.ahead)),
    )
