"""Process 1 of a job's namespaces."""

import json
import os
import signal
from typing import Any

from lora_qd.tasks.sandbox.inside import program, tree
from lora_qd.tasks.sandbox.inside.kernel import mount_fresh


def run_init(
    job: dict[str, Any], user_id: int, out: int, err: int, result: int
) -> None:
    """Run the job to its end and write what became of it to ``result``.

    First comes the mark of `program.start`, then JSON: ``status`` as of ``wait``,
    ``cpu_s`` and ``files``.
    """
    # The first process of a namespace ignores signals that it has no handler for.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    mount_fresh(job["limits"]["memory_bytes"])
    child = os.fork()
    if child == 0:
        program.start(job, user_id, out, err, result)
    status, cpu_s = _reap(child)
    _kill_all()
    files = tree.collect("/scratch") if job["collect_tree"] else {}
    answer = {"status": status, "cpu_s": cpu_s, "files": files}
    with open(result, "wb") as file:
        file.write(json.dumps(answer).encode())


def _reap(child: int) -> tuple[int, float]:
    """Wait for everything that ends until ``child`` does; return status and CPU time."""
    while True:
        done, status, usage = os.wait3(0)
        if done == child:
            return status, usage.ru_utime + usage.ru_stime


def _kill_all() -> None:
    """Kill everything else in the namespace and wait until it is gone."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
            os.wait()
        except (ProcessLookupError, ChildProcessError):
            return
