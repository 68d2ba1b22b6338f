"""Drawing charts by series: lines, scatter, bars.

``drawing_values`` draws those that are coloured by a value. Nothing is saved here.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_qd.dashboard.drawn_text import plain
from lora_qd.runs.figures.figure import Figure, Kind, Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#777777",
    "#f0e442",
)  # fmt: skip
"""Of Okabe and Ito (2008), told apart by the colour-blind; the palest one last, and
grey for black, which whiskers have."""
_MARKERS = "os^Dv<>P"
_DASHES = ("-", "--", "-.", ":")
_HATCHES = ("", "//", "..", "xx")
_MOST_VECTORS = 2000
"""Marks of a scatter; more become pixels in an SVG."""
_MOST_MARKED_POINTS = 40
_LARGEST = 1e100
"""Numbers beyond it are gaps: ranges and margins of them overflow."""
MOST_LABELS = 200
"""Names along an axis; of more, every second, third, ... is written."""


def numbers(values: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return values as floats, NaN for what is no drawable number."""
    return np.array(
        [
            float(v) if isinstance(v, int | float) and abs(v) <= _LARGEST else math.nan
            for v in values
        ],
        dtype=np.float64,
    )


def column(figure: Figure, role: str) -> list[Any]:
    """Return the values of a role; None in every row if the figure has no such role."""
    if role not in figure.encoding:
        return [None] * len(figure.rows)
    return figure.column(role)


def series_of(figures: Iterable[Figure]) -> list[str]:
    """Return the names of all series, each once, in order of appearance."""
    return list(
        dict.fromkeys(str(name) for each in figures for name in column(each, "series"))
    )


def draw_lines(axes: "Axes", figure: Figure, series: Sequence[str]) -> None:
    """Draw one line per series, with its band."""
    x, y, low, high = (numbers(column(figure, r)) for r in ("x", "y", "low", "high"))
    names = np.array([str(name) for name in column(figure, "series")])
    for name in dict.fromkeys(names):
        own, i = names == name, series.index(name)
        axes.plot(
            x[own],
            y[own],
            color=_colour(i),
            linestyle=_dash(i),
            marker="." if own.sum() <= _MOST_MARKED_POINTS else "",
        )
        if np.isfinite(low[own] + high[own]).any():
            axes.fill_between(
                x[own], low[own], high[own], color=_colour(i), alpha=0.18, linewidth=0
            )
    _frame(axes, figure)


def draw_scatter(axes: "Axes", figure: Figure, series: Sequence[str]) -> None:
    """Draw one mark per row, and a ring around each marked one."""
    x, y = numbers(column(figure, "x")), numbers(column(figure, "y"))
    names = np.array([str(name) for name in column(figure, "series")])
    for name in dict.fromkeys(names):
        own, i = names == name, series.index(name)
        axes.scatter(
            x[own],
            y[own],
            s=18,
            color=_colour(i),
            marker=_MARKERS[i % len(_MARKERS)],
            alpha=0.75,
            linewidths=0,
            rasterized=len(x) > _MOST_VECTORS,
        )
    ringed = list(figure.marked)
    axes.scatter(x[ringed], y[ringed], s=130, facecolors="none", edgecolors="black")
    _frame(axes, figure)


def draw_bars(axes: "Axes", figure: Figure, series: Sequence[str]) -> None:
    """Draw horizontal bars from above, those of one name end to end."""
    names = [str(name) for name in column(figure, "y")]
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    lengths, low, high = (numbers(column(figure, r)) for r in ("x", "low", "high"))
    ends = dict.fromkeys(names, 0.0)
    starts = np.zeros(len(names))
    for row, name in enumerate(names):
        starts[row] = ends[name]
        ends[name] += float(np.nan_to_num(lengths[row]))
    at = np.array([place[name] for name in names], dtype=float)
    shown = np.isfinite(lengths)
    drawn = [series.index(str(name)) for name in column(figure, "series")]
    for i in dict.fromkeys(drawn):
        own = shown & (np.array(drawn) == i)
        axes.barh(
            at[own], lengths[own], left=starts[own], color=_colour(i), hatch=_hatch(i)
        )
    axes.hlines(at, starts + low, starts + high, color="#222222", linewidth=1.2)
    for ends_at in (low, high):
        axes.plot(starts + ends_at, at, "|", color="#222222", markersize=5)
    label_names(axes.yaxis, list(place), most=44)
    axes.set_ylim(len(place) - 0.4, -0.6)
    axes.set_xlabel(plain(figure.scales.get("x", Scale("")).label, 60))
    _limit(axes.set_xlim, axes.get_xlim(), figure.scales.get("x"))
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


def label_names(axis: Any, names: Sequence[str], *, most: int) -> None:  # noqa: ANN401
    """Write names along an axis at 0, 1, 2, ...; of very many, only some."""
    step = 1 + len(names) // MOST_LABELS
    shown = range(0, len(names), step)
    axis.set_ticks(list(shown), [plain(names[i], most) for i in shown])


def sample_of(kind: Kind, i: int) -> Any:  # noqa: ANN401
    """Return what stands for series number ``i`` in a legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if kind is Kind.BARS:
        return Patch(facecolor=_colour(i), hatch=_hatch(i))
    if kind is Kind.LINES:
        return Line2D([], [], color=_colour(i), linestyle=_dash(i))
    marker = _MARKERS[i % len(_MARKERS)]
    return Line2D([], [], color=_colour(i), linestyle="", marker=marker)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _dash(i: int) -> str:
    """Return what tells a line from the one that has its colour, too."""
    return _DASHES[i // len(COLOURS) % len(_DASHES)]


def _hatch(i: int) -> str:
    return _HATCHES[i // len(COLOURS) % len(_HATCHES)]


def _frame(axes: "Axes", figure: Figure) -> None:
    """Name the axes and set their ranges."""
    x, y = (figure.scales.get(role, Scale("")) for role in ("x", "y"))
    axes.set_xlabel(plain(x.label, 60))
    axes.set_ylabel(plain(y.label, 50))
    _limit(axes.set_xlim, axes.get_xlim(), x)
    _limit(axes.set_ylim, axes.get_ylim(), y)
    axes.grid(visible=True)


def _limit(set_limits: Any, found: tuple[float, float], scale: Scale | None) -> None:  # noqa: ANN401
    """Show what the scale says, a little more so that no mark is cut in half."""
    if scale is None or (scale.low is None and scale.high is None):
        return
    low = found[0] if scale.low is None else scale.low
    high = found[1] if scale.high is None else scale.high
    margin = 0.02 * (high - low)
    if margin > 0:
        set_limits(
            low if scale.low is None else low - margin,
            high if scale.high is None else high + margin,
        )
