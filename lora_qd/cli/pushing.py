"""``loraqd push``."""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from lora_qd.cli.table import size_of
from lora_qd.dashboard.report import archive_pictures
from lora_qd.errors import LoraQDError, MissingExtraError
from lora_qd.hub.base_page import with_base_page
from lora_qd.hub.folder import Order, build_folder
from lora_qd.hub.identity import base_of
from lora_qd.hub.licences import LicenceOptions
from lora_qd.hub.manifest import NAME, Manifest
from lora_qd.hub.packing import pack, run_id
from lora_qd.hub.upload import upload
from lora_qd.runs.run import Run
from lora_qd.store.run_directory import RunDirectory

# Without a terminal rich takes 80 columns, too narrow for some lines.
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class PushOptions:
    """What the command was told."""

    is_private: bool
    is_dry: bool
    """Only the folder is written."""
    base_model: str | None
    """Hub id of the base."""
    licence: str | None
    """Of the base."""
    licence_file: Path | None


def push_run(path: Path, repo_id: str, options: PushOptions) -> None:
    """Write RUN/hub/, show what is in it, and upload it."""
    RunDirectory(path).require_finished()
    run = Run.open(path)
    folder = path / "hub"
    order = Order(
        repo_id=repo_id,
        run_id=run_id(run),
        pack=pack,
        base_model=options.base_model,
        licence=_licence(run, options),
        pictures=_pictures(path),
    )
    manifest = build_folder(run, folder, order)
    _show(folder, manifest)
    if options.is_dry:
        console.print(f"\nNothing was uploaded. The card: {folder / 'README.md'}")
        return
    is_new = _upload(folder, repo_id, is_private=options.is_private)
    if not is_new:
        console.print(f"{repo_id} holds all of it already; nothing was changed.")
        return
    console.print("\nLoad the aggregate:")
    console.print(f'  AutoPeftModelForCausalLM.from_pretrained("{repo_id}")')
    console.print(f"Go on from it anywhere:\n  loraqd pull {repo_id}")


def _licence(run: Run, options: PushOptions) -> LicenceOptions:
    """Return what is known of the base's licence; the Hub is asked about a Hub id."""
    licence = LicenceOptions(licence=options.licence, licence_file=options.licence_file)
    base = base_of(run, options.base_model)
    if options.licence and options.licence_file:
        return licence
    try:
        return with_base_page(licence, base.model)
    except LoraQDError as error:
        console.print(f"Note: the base's licence was not looked up on the Hub; {error}")
        return licence


def _pictures(path: Path) -> dict[str, bytes]:
    try:
        return archive_pictures(path)
    except MissingExtraError as error:
        console.print(f"Note: the card has no pictures; {error}")
        return {}


def _show(folder: Path, manifest: Manifest) -> None:
    """Print what would go, by folder; every file by name is in the manifest."""
    sizes: dict[str, list[int]] = {}
    for file in manifest.files:
        top, slash, _ = file.path.partition("/")
        sizes.setdefault(f"{top}/" if slash else top, []).append(file.size)
    for name in ("README.md", NAME):
        sizes[name] = [(folder / name).stat().st_size]
    table = Table(title=f"{folder}: what is shared", title_justify="left")
    table.add_column("path")
    table.add_column("files", justify="right")
    table.add_column("size", justify="right")
    for name in sorted(sizes, key=lambda name: (name.endswith("/"), name)):
        table.add_row(name, str(len(sizes[name])), size_of(sum(sizes[name])))
    num_files = sum(map(len, sizes.values()))
    table.add_section()
    table.add_row("all", str(num_files), size_of(sum(map(sum, sizes.values()))))
    console.print(table)


def _upload(folder: Path, repo_id: str, *, is_private: bool) -> bool:
    """Upload with a bar; return whether anything was new."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    columns = (TextColumn("uploading {task.description}"), BarColumn(24))
    with Progress(
        *columns,
        DownloadColumn(),
        console=console,
        transient=True,
        disable=not sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task("", total=None)

        def say(path: str, done: int, total: int) -> None:
            bar.update(task, description=path, completed=done, total=total)

        done = upload(folder, repo_id, is_private=is_private, say=say)
    if done.is_new:
        console.print(f"\nPushed: {done.url}")
    return done.is_new
