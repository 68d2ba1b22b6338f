"""A figure as data: the numbers of a chart and how they are to be drawn.

The page draws it in a browser, ``dashboard.pictures`` as PNG and SVG, and its rows are
its CSV: all three from here, so that none can say something else. Nothing is drawn in
this module.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

Value = str | float | int | None
"""Of a table's cell."""


class Kind(StrEnum):
    """How the rows are drawn."""

    LINES = "lines"
    """``x`` against ``y``, one line per ``series``; ``low`` and ``high`` are a band."""
    SCATTER = "scatter"
    """``x`` against ``y``, one mark per row, coloured by ``series``."""
    HEATMAP = "heatmap"
    """One square per row at ``x``, ``y`` (whole numbers, from 0), coloured by
    ``value``."""
    BARS = "bars"
    """One horizontal bar of length ``x`` per row, at the name ``y``; ``low`` and
    ``high`` are whiskers, rows of one ``y`` and several ``series`` are stacked."""
    PARALLEL = "parallel"
    """One polyline per row over the columns named in ``dimensions``, coloured by
    ``value``."""
    TREE = "tree"
    """One node per row: ``id``, ``parents`` (ids, separated by blanks),
    ``generation`` (0 is the root)."""
    TABLE = "table"
    """The rows as they are."""


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis, or the range of colours."""

    label: str
    low: float | None = None
    """Lowest value shown; None: of the data."""
    high: float | None = None
    num_cells: int | None = None
    """Of a heatmap's axis: so many equal cells lie between ``low`` and ``high``."""
    names: tuple[str, ...] = ()
    """Of a heatmap's axis without numbers: one per cell."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart."""

    id: str
    """Lower-case letters, digits and hyphens: the name of its files."""
    section: str
    """The heading under which it stands."""
    title: str
    summary: str
    """What it shows, in a sentence or two: for those who cannot see it."""
    kind: Kind
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Value]]
    encoding: Mapping[str, str]
    """The column of each role: ``x``, ``y``, ``series``, ``value``, ``low``, ``high``,
    ``id``, ``parents``, ``generation``, and ``member`` (whom a click shows)."""
    scales: Mapping[str, Scale] = field(default_factory=dict)
    """By role: ``x``, ``y``, ``value``."""
    dimensions: tuple[str, ...] = ()
    """Columns that are the axes of parallel coordinates."""
    group: str = ""
    """Figures of one group share a frame, and a choice of one ``view`` each."""
    view: str = ""
    """What tells it from the others of its group."""
    marked: tuple[int, ...] = ()
    """Rows that are pointed out: the best."""

    def column(self, role: str) -> list[Any]:
        """Return the values of a role, row by row.

        Raises:
            KeyError: the figure has no such role.
        """
        at = self.columns.index(self.encoding[role])
        return [row[at] for row in self.rows]

    def plain(self) -> dict[str, Any]:
        """Return it as what JSON can hold; the rows are not copied."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**plain, "scales": {k: asdict(s) for k, s in self.scales.items()}}

    def csv(self) -> str:
        """Return its numbers, with a line of names above."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()
