"""A finished run of the synthetic world, and orders to share it."""

from lora_qd.hub.folder import Order
from tests.runs import synthetic

BASE = "somebody/base-8b"
REPO = "owner/eight-by-eight"
RUN_ID = "ab" * 32


def finished_run(path, **changes):
    """Run the synthetic search to its end; return its directory."""
    config = synthetic.config(path, **changes)
    synthetic.run(config)
    return config.run


def pack(run, directory, *, base):
    """Stand in for the packer: a file for the run and one for an expert."""
    for name in ("run", "experts"):
        (directory / name).mkdir()
    (directory / "run" / "run.json").write_text(f'{{"base": "{base}"}}\n')
    (directory / "experts" / "config.json").write_text("{}\n")


def order(**changes):
    """Return an order for the synthetic run; ``changes`` by field."""
    fields = {"repo_id": REPO, "run_id": RUN_ID, "pack": pack, "base_model": BASE}
    return Order(**(fields | changes))
