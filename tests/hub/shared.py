"""A finished synthetic run with experts on disk, packed as a repository holds it."""

from pathlib import Path

from lora_qd.experts.fingerprint import base_hash
from lora_qd.hub.manifest import Manifest, SharedBase, listed
from lora_qd.hub.packing import pack, run_id
from lora_qd.runs.experts import load_experts
from lora_qd.runs.run import Run
from lora_qd.store.adapters import save_adapter
from tests.runs import synthetic

BASE_ID = "someone/a-base"


def finished(path, **changes):
    """Return a finished run whose experts are PEFT directories beside it."""
    config = synthetic.config(path, **changes)
    for skill, expert in synthetic.adapters().items():
        directory = config.experts_dir / skill
        if not directory.exists():
            save_adapter(expert.task_vector, directory, base=config.base)
    synthetic.run(config, experts=load_experts(config))
    return Run.open(config.run)


def packed(run, directory):
    """Pack a run below ``directory``, which then looks like a download of it."""
    directory = Path(directory)
    directory.mkdir(parents=True)
    pack(run, directory, base=BASE_ID)
    return directory, manifest_of(run, directory)


def manifest_of(run, directory):
    """Return the list of what lies in ``directory``; without adapters to load."""
    base = SharedBase(
        model=BASE_ID, hash=base_hash(run.config.base), quantization="none"
    )
    return Manifest(run_id=run_id(run), base=base, adapters={}, files=listed(directory))
