"""Charts as files: PNG and SVG drawn by matplotlib, and CSV. Needs the extra ``plot``.

The page draws the same figures itself, in the browser. Tables have no picture.
"""

import math
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_qd.dashboard import drawing, drawing_values
from lora_qd.dashboard.drawn_text import PLAIN_STYLE, plain
from lora_qd.errors import MissingExtraError
from lora_qd.runs.figures.figure import Figure, Kind, Scale
from lora_qd.store.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_DPI = 100
_TALLEST = 60.0
"""Of a picture, in inches; matplotlib refuses 2^16 pixels."""
_TALLEST_BAR = 3.8
"""Of colours, in inches."""
_MOST_SERIES = 24
"""In a legend; so many hardly fit, and nobody tells more apart."""
_BY_SERIES = {
    Kind.LINES: drawing.draw_lines,
    Kind.SCATTER: drawing.draw_scatter,
    Kind.BARS: drawing.draw_bars,
}
_BY_VALUE = {
    Kind.HEATMAP: drawing_values.draw_heatmap,
    Kind.PARALLEL: drawing_values.draw_parallel,
    Kind.TREE: drawing_values.draw_tree,
}


def save_pictures(figures: Sequence[Figure], directory: Path) -> None:
    """Write each figure as PNG, SVG and CSV; a group is one picture of all its views.

    The same figures give the same bytes, with the same matplotlib.

    Args:
        figures: what is drawn.
        directory: where the files go; it exists.

    Raises:
        ValueError: an id or a group is no file name, or two files would have one name.
        MissingExtraError: matplotlib is not installed.
        StoreError: the file system refuses.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("drawing figures", "plot") from error
    pictures = _pictures(figures)
    save_tables(figures, directory)
    # The user's own matplotlibrc does not count: the files would differ.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(PLAIN_STYLE)
        for name, panels in pictures.items():
            _save(_draw(panels), directory / name, panels[0].title)


def save_tables(figures: Sequence[Figure], directory: Path) -> None:
    """Write the numbers of each figure as CSV. Needs no extra.

    Raises:
        ValueError: an id is no file name, or two figures have one.
        StoreError: the file system refuses.
    """
    _check_names([figure.id for figure in figures])
    for figure in figures:
        # A lone surrogate, which JSON may bring, has no UTF-8.
        content = figure.csv().encode(errors="replace")
        write_bytes(directory / f"{figure.id}.csv", content)


def _pictures(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """Return the panels of each picture, by its name."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        if figure.kind is not Kind.TABLE:
            key = ("group", figure.group) if figure.group else ("alone", figure.id)
            groups.setdefault(key, []).append(figure)
    _check_names([name for _, name in groups])
    return {name: panels for (_, name), panels in groups.items()}


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[a-z0-9-]+", name):
            raise ValueError(
                "expected figures and groups named by lower-case letters, digits and "
                f"hyphens, since files are, but got {name!r}; rename it"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"expected each file to be written once, but {', '.join(twice)} would be "
            "written twice; give each figure an id and each group a name of its own"
        )


def _draw(panels: Sequence[Figure]) -> "Canvas":
    """Draw the views of a group side by side."""
    from matplotlib.figure import Figure as Canvas

    num_columns = 2 if len(panels) in (2, 4) else min(len(panels), 3)
    num_rows = math.ceil(len(panels) / num_columns)
    sizes = [_size(panel) for panel in panels]
    width = num_columns * max(size[0] for size in sizes)
    height = num_rows * max(size[1] for size in sizes)
    canvas = Canvas(figsize=(width, min(height, _TALLEST)), layout="constrained")
    grid = canvas.subplots(num_rows, num_columns, squeeze=False).ravel()
    series = drawing.series_of(panels)
    shown = []
    for axes, panel in zip(grid, panels, strict=False):
        title = panel.view if len(panels) > 1 else panel.title
        axes.set_title(plain(title, 44 if len(panels) > 1 else 80))
        shown.append((axes, panel, _draw_panel(axes, panel, series)))
    for unused in grid[len(panels) :]:
        unused.set_visible(False)
    if len(panels) > 1:
        canvas.suptitle(plain(panels[0].title, 100), x=0.01, ha="left", fontsize=12)
    _explain_colours(canvas, [each for each in shown if each[2] is not None])
    _explain_series(canvas, panels, series)
    return canvas


def _draw_panel(axes: "Axes", figure: Figure, series: Sequence[str]) -> Any:  # noqa: ANN401
    """Draw one figure; return what a colour bar is to explain, or None."""
    if not figure.rows:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing yet", ha="center", color="#666666", fontsize=11)
        return None
    if figure.kind in _BY_VALUE:
        return _BY_VALUE[figure.kind](axes, figure)
    _BY_SERIES[figure.kind](axes, figure, series)
    return None


def _size(figure: Figure) -> tuple[float, float]:
    """Return the width and height of a panel in inches."""
    scales = figure.scales
    match figure.kind:
        case Kind.HEATMAP if figure.rows:
            return 4.4, 1.5 if scales.get("y", Scale("")).num_cells == 1 else 3.8
        case Kind.BARS if figure.rows:
            return 7.2, 1.2 + 0.22 * len(set(figure.column("y")))
        case Kind.PARALLEL if figure.rows:
            return max(6.4, 1.0 + 1.1 * len(figure.dimensions)), 4.2
        case Kind.TREE if figure.rows:
            places = drawing_values.tree_places(figure).values()
            rows = 1 + 2 * max(y for _, y in places)
            return max(4.8, 2.2 + 1.75 * max(x for x, _ in places)), 1.0 + 0.3 * rows
    return 5.8, 3.6


def _explain_colours(
    canvas: "Canvas", shown: Sequence[tuple["Axes", Figure, Any]]
) -> None:
    """Add one colour bar if it is true of all panels, else one for each."""
    scales = {
        (panel.scales.get("value", Scale("")).label, mapped.norm.vmin, mapped.norm.vmax)
        for _, panel, mapped in shown
    }
    groups = [([each[0]], each) for each in shown]
    if len(scales) == 1:
        groups = [([axes for axes, _, _ in shown], shown[0])]
    share = min(1.0, _TALLEST_BAR / canvas.get_figheight())
    for axes, (_, panel, mapped) in groups:
        label = plain(panel.scales.get("value", Scale("")).label, 36)
        bar = canvas.colorbar(
            mapped, ax=axes, label=label, shrink=share, anchor=(0.0, 1.0), pad=0.02
        )
        bar.outline.set_visible(False)


def _explain_series(
    canvas: "Canvas", panels: Sequence[Figure], series: Sequence[str]
) -> None:
    """Add a legend below, if there is something to tell apart."""
    if len(series) < 2:
        return
    names = [plain(name, 28) for name in series[:_MOST_SERIES]]
    width, height = canvas.get_size_inches()
    num_columns = max(1, int(width / (0.6 + 0.07 * max(map(len, names)))))
    legend = canvas.legend(
        [drawing.sample_of(panels[0].kind, i) for i in range(len(names))],
        [str(i) for i in range(len(names))],
        loc="outside lower center",
        ncols=num_columns,
        title=f"{len(names)} of {len(series)}" if len(names) < len(series) else None,
    )
    # Set afterwards: as labels, names that begin with "_" are left out.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    canvas.set_figheight(height + 0.18 * math.ceil(len(names) / num_columns))


def _save(canvas: "Canvas", stem: Path, title: str) -> None:
    """Write the two files of one drawing; its layout is found once."""
    layout = canvas.get_layout_engine()
    if layout is not None:
        layout.execute(canvas)
    canvas.set_layout_engine("none")
    png, svg = BytesIO(), BytesIO()
    canvas.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    metadata = nothing | {"Title": plain(title, 100)}
    canvas.savefig(svg, format="svg", dpi=2 * _DPI, metadata=metadata)
    write_bytes(stem.with_suffix(".png"), png.getvalue())
    # Without the address of a DTD, which some readers fetch.
    content = re.sub(rb"<!DOCTYPE[^>]*>\n?", b"", svg.getvalue(), count=1)
    write_bytes(stem.with_suffix(".svg"), content)
