"""A cell of an archive by its name: ``code[3,7]``, its index as an archive shows it."""

import re
from collections.abc import Mapping

from lora_qd.archive import GridArchive
from lora_qd.errors import InputError

_NAME = re.compile(r"(?P<skill>[^\[\]]+)\[(?P<index>\d{1,6}(?:,\d{1,6})*)\]", re.ASCII)


def cell_name(archive: GridArchive, index: tuple[int, ...]) -> str:
    """Return the name of a cell."""
    return f"{archive.task}[{','.join(map(str, index))}]"


def elite_at(name: str, archives: Mapping[str, GridArchive]) -> str | None:
    """Return the member in the cell that ``name`` means; None if it means none.

    Raises:
        InputError: there is no such archive or cell, or nobody is in it.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    archive = archives.get(match["skill"])
    if archive is None:
        raise InputError(
            f"expected a cell of {', '.join(archives) or 'an archive'}, but got "
            f"{name!r}; loraqd archive shows them"
        )
    index = tuple(int(number) for number in match["index"].split(","))
    sizes = [axis.num_cells for axis in archive.axes]
    is_inside = len(index) == len(sizes) and all(map(int.__lt__, index, sizes))
    if not is_inside:
        axes = " and ".join(f"{a.task} (0 to {a.num_cells - 1})" for a in archive.axes)
        raise InputError(
            f"expected a cell of {archive.task} by its place on {axes}, but got "
            f"{name!r}; loraqd archive shows them"
        )
    elites = {elite.index: elite for elite in archive.elites}
    if index not in elites:
        nearest = min(elites, key=lambda other: (_distance(index, other), other))
        raise InputError(
            f"expected an occupied cell, but {name} is empty; {len(elites)} are "
            f"occupied, the nearest is {cell_name(archive, nearest)}"
        )
    return elites[index].id


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))
