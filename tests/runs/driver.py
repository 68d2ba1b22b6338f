"""The command line in the synthetic world: ``python -m tests.runs.driver ARGUMENTS``.

The environment says what else is special: ``SLOW_STOP`` seconds that a session takes to
close, ``NUM_FILES`` that may be open, ``NUM_FILES_LATER`` once it searches.
"""

import asyncio
import os
import resource
import sys
from contextlib import asynccontextmanager
from functools import partial

import lora_qd.cli.evolving as evolving
import lora_qd.runs.evolve
from lora_qd.cli.main import main
from tests.runs import synthetic


def into_synthetic_world(patch):
    """Replace by ``patch(object, name, value)`` what needs a model or minutes."""
    opener = partial(lora_qd.runs.evolve.evolve, opener=open_slowly)
    patch(evolving, "evolve", opener)
    patch(evolving, "load_experts", lambda _: synthetic.adapters())
    patch(evolving, "write_report", lambda run: run / "report")  # takes seconds


@asynccontextmanager
async def open_slowly(config, span, log):
    seconds = float(os.environ.get("SLOW_STOP", "0"))
    async with synthetic.open_synthetic(config, span, log) as session:
        evaluate = session.evaluator.evaluate

        async def evaluate_slowly(*arguments):
            await asyncio.sleep(seconds / 100)
            return await evaluate(*arguments)

        session.evaluator.evaluate = evaluate_slowly
        limit_files("NUM_FILES_LATER")
        try:
            yield session
        finally:
            evolving.console.print("closing")
            await asyncio.sleep(seconds)


def limit_files(name):
    num = int(os.environ.get(name, "0"))
    if num:
        resource.setrlimit(resource.RLIMIT_NOFILE, (num, num))


if __name__ == "__main__":
    into_synthetic_world(setattr)
    limit_files("NUM_FILES")
    sys.argv[0] = "loraqd"
    main()
