"""MAP-Elites archives over member ids. Looks inside no solution, touches no disk."""

from lora_qd.archive.forecast import Forecast, chance_to_enter, forecast
from lora_qd.archive.front import Hypervolume, ParetoFront
from lora_qd.archive.grid import (
    AddStatus,
    ArchiveStats,
    Axis,
    Elite,
    GridArchive,
    Overall,
    axes_from_experts,
    overall,
)

__all__ = [
    "AddStatus",
    "ArchiveStats",
    "Axis",
    "Elite",
    "Forecast",
    "GridArchive",
    "Hypervolume",
    "Overall",
    "ParetoFront",
    "axes_from_experts",
    "chance_to_enter",
    "forecast",
    "overall",
]
