"""MAP-Elites archives over member ids. Looks inside no solution, touches no disk."""

from lora_qd.archive.front import Hypervolume, ParetoFront
from lora_qd.archive.grid import (
    AddStatus,
    ArchiveStats,
    Axis,
    Elite,
    GridArchive,
    axes_from_experts,
)

__all__ = [
    "AddStatus",
    "ArchiveStats",
    "Axis",
    "Elite",
    "GridArchive",
    "Hypervolume",
    "ParetoFront",
    "axes_from_experts",
]
