"""``loraqd report``: a run's page in one file, and its charts as PNG, SVG and CSV."""

import tempfile
from pathlib import Path

from lora_qd.dashboard.page import report_page
from lora_qd.dashboard.pictures import save_pictures
from lora_qd.runs.figures import figures_of
from lora_qd.runs.figures.archive_maps import archive_figures
from lora_qd.runs.following import Follower
from lora_qd.store.files import new_directory, write_bytes
from lora_qd.store.run_directory import RunDirectory


def write_report(run: Path, *, has_pictures: bool = True) -> Path:
    """Write the report of a run, finished or not; return the path of its page.

    An earlier report is replaced when the new one is whole.

    Args:
        run: the run's directory.
        has_pictures: whether PNG and SVG are drawn, too.

    Raises:
        InputError: there is no run.
        StoreError: the ledger is damaged or locked, or the disk refuses.
        MissingExtraError: pictures are wanted, and matplotlib is not installed.
    """
    directory = RunDirectory(run)
    snapshot = Follower(directory).read()
    figures = figures_of(snapshot)
    with new_directory(directory.report, replace=True) as beside:
        page = report_page(snapshot, figures)
        write_bytes(beside / "index.html", page.encode())
        if has_pictures:
            save_pictures(figures, beside)
    return directory.report / "index.html"


def archive_pictures(run: Path) -> dict[str, bytes]:
    """Return a picture of each archive as PNG, by file name.

    Raises:
        InputError: there is no run.
        MissingExtraError: matplotlib is not installed.
    """
    story = Follower(RunDirectory(run)).read().story
    if story is None:
        return {}
    maps = [f for f in archive_figures(story) if f.id.startswith("archive-")]
    with tempfile.TemporaryDirectory(prefix="loraqd-") as scratch:
        save_pictures(maps, Path(scratch))
        return {p.name: p.read_bytes() for p in sorted(Path(scratch).glob("*.png"))}
