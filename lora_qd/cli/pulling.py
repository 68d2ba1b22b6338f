"""``loraqd pull``."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lora_qd.cli.table import size_of
from lora_qd.errors import InputError
from lora_qd.hub.download import Snapshot, download
from lora_qd.hub.manifest import EXPERTS_FOLDER, RUN_FOLDER, Manifest
from lora_qd.hub.names import plain_name
from lora_qd.hub.unpacking import require_base, unpack
from lora_qd.runs.consent import needs_consent
from lora_qd.runs.members import refuse_existing
from lora_qd.store.files import new_directory

console = Console(highlight=False, soft_wrap=True)
_FILES = ("adapter_config.json", "adapter_model.safetensors")


def pull_run(repository: str, out: Path | None, *, base: str | None) -> None:
    """Fetch a shared run and make a run of it."""
    repo_id, revision = _parsed(repository)
    target = out or Path("runs") / repo_id.rpartition("/")[2]
    refuse_existing(target, option="--run")
    folders = (f"{RUN_FOLDER}/", f"{EXPERTS_FOLDER}/")
    first = _fetch(repo_id, revision, lambda _: False)
    here = base or _base_of(first.manifest, repository)
    require_base(first.manifest, here, repository)  # before gigabytes are fetched
    wanted = [f.size for f in first.manifest.files if f.path.startswith(folders)]
    console.print(
        f"Fetching {len(wanted)} files of {repository}, {size_of(sum(wanted))} ..."
    )
    snapshot = _fetch(repo_id, first.commit, lambda path: path.startswith(folders))
    run = unpack(
        snapshot.directory, snapshot.manifest, target, base=here, source=repository
    )
    num = len(run.children)
    console.print(f"Wrote {target}: {num} members, every file and score checked.")
    for deed in needs_consent(run.config):
        console.print(f"Note: to go on needs your consent (--allow): {deed}")
    console.print(f"\nLook at it:        loraqd report {target}")
    console.print(f"Serve its elites:  loraqd serve {target}")
    console.print(f"Evolve it further: loraqd resume {target} --children +200")


def pull_adapters(
    repository: str, out: Path, *, run: Path | None, base: str | None
) -> None:
    """Fetch the adapters of a shared run as PEFT directories."""
    if run is not None:
        raise InputError(
            "expected --run or --adapters, but got both; pull twice for both"
        )
    repo_id, revision = _parsed(repository)
    refuse_existing(out, option="--adapters")
    console.print(f"Fetching {repository} ...")
    names = set(_FILES)
    snapshot = _fetch(
        repo_id,
        revision,
        lambda path: (
            path.rpartition("/")[2] in names
            and not path.startswith((f"{RUN_FOLDER}/", f"{EXPERTS_FOLDER}/"))
        ),
    )
    if base is not None:
        require_base(snapshot.manifest, base, repository)
    with new_directory(out) as beside:
        for name, folder in snapshot.manifest.adapters.items():
            target = beside / (folder or plain_name(name))
            target.mkdir(parents=True)
            for file in _FILES:
                shutil.copyfile(snapshot.directory / folder / file, target / file)
    model = snapshot.manifest.base.model
    listed = ", ".join(sorted(path.name for path in out.iterdir()))
    console.print(f"Wrote {out}: {listed}; all are for the base {model}.")
    console.print(f'Load one:  PeftModel.from_pretrained(base, "{out / "aggregate"}")')


def _fetch(
    repo_id: str, revision: str | None, is_wanted: Callable[[str], bool]
) -> Snapshot:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    return download(repo_id, revision=revision, is_wanted=is_wanted)


def _parsed(repository: str) -> tuple[str, str | None]:
    repo_id, _, revision = repository.partition("@")
    return repo_id, revision or None


def _base_of(manifest: Manifest, repository: str) -> str:
    """Return the base's Hub id, unless only a directory can be compared."""
    if manifest.base.hash.startswith("hub:"):
        return manifest.base.model
    raise InputError(
        f"expected the base of {repository} ({manifest.base.model}) as a directory, "
        "since the run was made on one whose files were hashed; pass --base"
    )
