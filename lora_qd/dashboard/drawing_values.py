"""Drawing charts that are coloured by a value: heatmaps, parallel lines, trees."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_qd.dashboard.drawing import column, label_names, numbers
from lora_qd.dashboard.drawn_text import plain
from lora_qd.runs.figures.figure import Figure, Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = "viridis"
_EMPTY = "#e4e4e4"
_MOST_PRINTED = 225
"""Cells of a heatmap whose values are written."""
_BOX = (0.88, 0.62)
"""Width and height of a tree's node; nodes are 1 apart."""


def draw_heatmap(axes: "Axes", figure: Figure) -> Any:  # noqa: ANN401
    """Draw one square per row, the rest grey; return what a colour bar explains."""
    x, y = (numbers(column(figure, role)) for role in ("x", "y"))
    values = numbers(column(figure, "value"))
    across, up = _scale(figure, "x"), _scale(figure, "y")
    shape = (_num_cells(up, y), _num_cells(across, x))
    grid = np.full(shape, np.nan)
    rows = [
        i
        for i in np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        if 0 <= x[i] < shape[1] and 0 <= y[i] < shape[0]
    ]
    for i in rows:
        grid[int(y[i]), int(x[i])] = values[i]
    axes.set_facecolor(_EMPTY)
    x_edges, y_edges = _edges(across, shape[1]), _edges(up, shape[0])
    image = axes.imshow(  # one pixel per cell in an SVG: fast, small, without seams
        grid,
        origin="lower",
        extent=(x_edges[0], x_edges[-1], y_edges[0], y_edges[-1]),
        aspect="auto",
        interpolation="none",
        cmap=_COLOURS,
        norm=_norm(figure, values),
    )
    _mark(axes, figure, [(x[i], y[i]) for i in figure.marked if i in rows], shape)
    _label_cells(axes.xaxis, across)
    _label_cells(axes.yaxis, up)
    if across.names:
        axes.tick_params(axis="x", rotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    if across.names and up.names:
        axes.invert_yaxis()  # names are read from above
        if grid.size <= _MOST_PRINTED:
            _print_values(axes, image, grid)
    return image


def draw_parallel(axes: "Axes", figure: Figure) -> Any:  # noqa: ANN401
    """Draw one polyline per row; all of its axes have one range."""
    from matplotlib.collections import LineCollection

    at = [figure.columns.index(name) for name in figure.dimensions]
    heights = np.array([numbers(row[i] for i in at) for row in figure.rows])
    values = numbers(column(figure, "value"))
    places: Sequence[float] = range(len(at))
    if len(at) == 1:  # a point would be no line
        places, heights = (-0.1, 0.1), np.repeat(heights, 2, axis=1)
    lines = LineCollection(
        [np.column_stack([places, row]) for row in heights],
        cmap=_COLOURS,
        norm=_norm(figure, values),
        linewidths=0.9,
    )
    lines.set_array(values)
    axes.add_collection(lines, autolim=False)
    for i in range(len(at)):
        axes.axvline(i, color="#888888", linewidth=0.8, zorder=0)
    label_names(axes.xaxis, figure.dimensions, most=18)
    axes.set_xlim(-0.2, max(len(at) - 0.8, 0.2))
    scale = figure.scales.get("y", _scale(figure, "value"))
    low, high = _range(scale, heights.ravel())
    axes.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.set_ylabel(plain(figure.scales.get("y", Scale("")).label, 50))
    return lines


def draw_tree(axes: "Axes", figure: Figure) -> Any:  # noqa: ANN401
    """Draw generations from left to right, each member joined to its parents."""
    from matplotlib.collections import LineCollection

    ids = [str(name) for name in column(figure, "id")]
    values = numbers(column(figure, "value"))
    places = tree_places(figure)
    left = _BOX[0] / 2
    edges = [
        _edge(places[name], places[parent])
        for name, parents in zip(ids, _parents(figure), strict=True)
        for parent in parents
        if parent in places
    ]
    axes.add_collection(LineCollection(edges, colors="#999999", linewidths=0.8))
    at = np.array([places[name] for name in ids])
    _draw_boxes(axes, at)
    dots = axes.scatter(
        at[:, 0] - left + 0.07,
        at[:, 1],
        c=values,
        s=42,
        cmap=_COLOURS,
        norm=_norm(figure, values),
        zorder=3,
    )
    for name, (x, y) in places.items():
        label = plain(name, 18)
        axes.text(x - left + 0.14, y, label, fontsize=7, va="center", zorder=3)
    axes.set_xlim(-0.6, at[:, 0].max() + 0.6)
    axes.set_ylim(at[:, 1].max() + 0.6, at[:, 1].min() - 0.6)
    axes.set_axis_off()
    return dots


def _draw_boxes(axes: "Axes", at: Any) -> None:  # noqa: ANN401
    """Draw a white box around each place, above the edges."""
    from matplotlib.collections import PolyCollection

    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * np.array(_BOX) / 2
    boxes = PolyCollection(
        list(at[:, None, :] + corners),
        facecolors="white",
        edgecolors="#777777",
        zorder=2,
    )
    boxes.set_linewidth(0.8)
    axes.add_collection(boxes)


def _edge(
    child: tuple[float, float], parent: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return a line from the right of a child to the nearer side of a parent.

    A parent may stand in the child's own column, or to its left, as an ancestor of
    others: the line then keeps to the gap between columns.
    """
    half = _BOX[0] / 2
    (x, y), (parent_x, parent_y) = child, parent
    if parent_x > x:
        return [(x + half, y), (parent_x - half, parent_y)]
    turn = (x + 0.5, (y + parent_y) / 2)
    return [(x + half, y), turn, (parent_x + half, parent_y)]


def tree_places(figure: Figure) -> dict[str, tuple[float, float]]:
    """Return where each member stands: a column per generation, by its children."""
    ids = [str(name) for name in column(figure, "id")]
    generations = np.nan_to_num(numbers(column(figure, "generation")))
    layers = sorted(set(generations.tolist()))
    children: dict[str, list[str]] = {name: [] for name in ids}
    for name, parents in zip(ids, _parents(figure), strict=True):
        for parent in parents:
            children.get(parent, []).append(name)
    places: dict[str, tuple[float, float]] = {}
    for x, layer in enumerate(layers):
        names = [
            name
            for name, own in zip(ids, generations, strict=True)
            if own == layer and name not in places
        ]
        wanted = {name: _mean_height(children[name], places) for name in names}
        names = sorted(dict.fromkeys(names), key=lambda name: wanted[name])
        for i, name in enumerate(names):
            places[name] = (float(x), i - (len(names) - 1) / 2)
    return places


def _mean_height(
    names: Sequence[str], places: Mapping[str, tuple[float, float]]
) -> float:
    heights = [places[name][1] for name in names if name in places]
    return sum(heights) / len(heights) if heights else 0.0


def _parents(figure: Figure) -> list[list[str]]:
    return [str(names or "").split() for names in column(figure, "parents")]


def _scale(figure: Figure, role: str) -> Scale:
    return figure.scales.get(role, Scale(""))


def _num_cells(scale: Scale, found: Any) -> int:  # noqa: ANN401
    if scale.names or scale.num_cells:
        return len(scale.names) or scale.num_cells or 1
    finite = found[np.isfinite(found)]
    return 1 + int(finite.max(initial=0))


def _edges(scale: Scale, num_cells: int) -> Any:  # noqa: ANN401
    """Return the borders of an axis' cells; named ones lie around 0, 1, 2, ..."""
    if scale.names or scale.low is None or scale.high is None:
        return np.arange(num_cells + 1) - 0.5
    low, high = _range(scale, np.array([]))
    return np.linspace(low, high, num_cells + 1)


def _range(scale: Scale, found: Any) -> tuple[float, float]:  # noqa: ANN401
    """Return the lowest and the highest value, never the same."""
    finite = found[np.isfinite(found)]
    low = finite.min(initial=np.inf) if scale.low is None else scale.low
    high = finite.max(initial=-np.inf) if scale.high is None else scale.high
    if not np.isfinite([low, high]).all():
        return 0.0, 1.0
    return float(low), float(high if high > low else low + 1.0)


def _norm(figure: Figure, values: Any) -> Any:  # noqa: ANN401
    from matplotlib.colors import Normalize

    return Normalize(*_range(_scale(figure, "value"), values))


def _label_cells(axis: Any, scale: Scale) -> None:  # noqa: ANN401
    if scale.names:
        label_names(axis, scale.names, most=16)
    elif scale.num_cells == 1 and not scale.label:
        axis.set_ticks([])  # an axis of one cell measures nothing
    else:
        from matplotlib.ticker import MaxNLocator

        axis.set_major_locator(MaxNLocator(4))
    axis.set_label_text(plain(scale.label, 36))


def _mark(
    axes: "Axes",
    figure: Figure,
    cells: Sequence[tuple[float, float]],
    shape: tuple[int, int],
) -> None:
    """Put a star into each of some cells."""
    across = _edges(_scale(figure, "x"), shape[1])
    up = _edges(_scale(figure, "y"), shape[0])
    for x, y in cells:
        at = [(e[int(i)] + e[int(i) + 1]) / 2 for e, i in ((across, x), (up, y))]
        axes.plot(*at, marker="*", color="white", markeredgecolor="k", markersize=13)


def _print_values(axes: "Axes", image: Any, grid: Any) -> None:  # noqa: ANN401
    for (row, at), value in np.ndenumerate(grid):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            is_light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            axes.text(
                at,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=8,
                color="black" if is_light else "white",
            )
