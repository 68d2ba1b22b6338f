"""Text for pictures: names that others chose, made safe to draw.

Markup is not escaped here: matplotlib is told to interpret none (``PLAIN_STYLE``), and
escapes XML itself.
"""

import unicodedata
from functools import cache
from typing import Any

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
PLAIN_STYLE = {
    "text.parse_math": False,  # a dollar is a dollar
    "text.usetex": False,
    "svg.fonttype": "none",  # text stays text: searchable, and small
    "svg.hashsalt": "loraqd",  # ids that are the same each time
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
}
"""Settings of matplotlib under which everything is drawn."""


def plain(text: Any, most: int) -> str:  # noqa: ANN401 - a cell of any type
    """Return ``text`` as one line of at most ``most`` characters that can be drawn.

    What the font lacks, and what would not be seen, becomes a replacement character:
    the font would warn, and XML knows no control characters.
    """
    line = " ".join(str(text).split())
    if len(line) > most:
        tail = most // 3
        line = f"{line[: most - tail - 1]}…{line[-tail:] if tail else ''}"
    known = _known_characters()
    return "".join(
        c
        if ord(c) in known and not unicodedata.category(c).startswith("C")
        else _UNKNOWN
        for c in line
    )


@cache
def _known_characters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont(FontProperties(family="DejaVu Sans")))
    return frozenset(font.get_charmap())
