"""The charts of a run, as data: what a report and the live page draw.

Belongs here: which numbers make a chart. Does not belong here: pixels, HTML, files.
"""

from lora_qd.runs.figures.figure import Figure, Kind, Scale
from lora_qd.runs.figures.whole import SECTIONS, figures_of

__all__ = ["SECTIONS", "Figure", "Kind", "Scale", "figures_of"]
