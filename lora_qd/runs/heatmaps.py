"""Pictures of the archives. Needs the extra ``plot``."""

import itertools
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_qd.archive import Axis, GridArchive
from lora_qd.errors import MissingExtraError
from lora_qd.store.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_heatmaps(archives: Mapping[str, GridArchive], path: Path) -> None:
    """Draw every archive over each pair of its measures and write one PNG.

    With more than two measures a cell shows the best objective over the other axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing heatmaps", "plot") from error
    panels = [
        (archive, pair)
        for archive in archives.values()
        for pair in _pairs(len(archive.axes))
    ]
    num_columns = min(len(panels), 3)
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Figure(figsize=(4.6 * num_columns, 4.1 * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, (archive, pair) in zip(grid, panels, strict=False):
        image = _draw(axes, archive, pair)
    figure.colorbar(image, ax=list(grid), label="objective (search score)")
    for unused in grid[len(panels) :]:
        unused.set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())


def _pairs(num_axes: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(num_axes), 2)) or [(0, 0)]


def _draw(axes: "Axes", archive: GridArchive, pair: tuple[int, int]) -> Any:  # noqa: ANN401
    x, y = (archive.axes[i] for i in pair)
    shape = (y.num_cells, x.num_cells if pair[0] != pair[1] else 1)
    cells = np.full(shape, np.nan)
    for elite in archive.elites:
        column = elite.index[pair[0]] if pair[0] != pair[1] else 0
        at = (elite.index[pair[1]], column)
        cells[at] = np.nanmax([cells[at], elite.objective])
    stats = archive.stats()
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(
        cells,
        origin="lower",
        extent=(x.low, x.high, y.low, y.high),
        aspect="auto",
        vmin=0.0,
        vmax=1.0,
        cmap="viridis",
    )
    _mark_best(axes, archive, pair)
    axes.set_title(
        f"{archive.task}: best {stats.best:.2f}, {stats.num_elites} elites", fontsize=10
    )
    _label(axes, x, y)
    return image


def _mark_best(axes: "Axes", archive: GridArchive, pair: tuple[int, int]) -> None:
    best = max(archive.elites, key=lambda elite: elite.objective, default=None)
    if best is not None:
        at = [_centre(archive.axes[i], best.index[i]) for i in pair]
        axes.plot(
            *at, marker="*", color="white", markeredgecolor="black", markersize=13
        )


def _centre(axis: Axis, cell: int) -> float:
    return axis.low + (cell + 0.5) * (axis.high - axis.low) / axis.num_cells


def _label(axes: "Axes", x: Axis, y: Axis) -> None:
    axes.set_xlabel(f"{x.task} score")
    axes.set_ylabel(f"{y.task} score")
