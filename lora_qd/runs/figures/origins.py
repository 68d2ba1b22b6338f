"""What a run was made of: how alike its experts are, and its manifest."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from lora_qd.factors.similarity import Similarity
from lora_qd.runs.figures.figure import Figure, Kind, Scale

SECTION = "Origins"
_VIEWS = {
    "cosine": "Cosine of whole task vectors",
    "output_subspace": "Overlap of leading output directions",
    "input_subspace": "Overlap of leading input directions",
    "spectral": "Cosine of singular values",
}


def similarity_figures(
    names: tuple[str, ...], found: Mapping[tuple[int, int], Similarity]
) -> Iterator[Figure]:
    """Yield how alike the experts are, one view for each measure of it."""
    for field, meaning in _VIEWS.items():
        yield Figure(
            id=f"experts-{field.replace('_', '-')}",
            section=SECTION,
            title="Experts' similarity",
            summary=f"{meaning}; 1 for equal ones, 0 for orthogonal ones.",
            kind=Kind.HEATMAP,
            columns=("column", "row", "expert", "other", "similarity"),
            rows=[
                (i, j, names[i], names[j], _value(found, i, j, field))
                for i, j in product(range(len(names)), repeat=2)
            ],
            encoding={"x": "column", "y": "row", "value": "similarity"},
            scales={
                "x": Scale("", names=names),
                "y": Scale("", names=names),
                "value": Scale("similarity", 0.0, 1.0),
            },
            group="experts",
            view=meaning,
        )


def _value(
    found: Mapping[tuple[int, int], Similarity], i: int, j: int, field: str
) -> float:
    if i == j:
        return 1.0
    return round(float(getattr(found[min(i, j), max(i, j)], field)), 4)


def manifest_figure(manifest: Mapping[str, Any]) -> Figure:
    """Return what fixes the run, as a table."""
    rows = list(_flat("", manifest))
    return Figure(
        id="manifest",
        section=SECTION,
        title="Manifest",
        summary="What fixes this run: config, seed, versions, hashes, machine.",
        kind=Kind.TABLE,
        columns=("entry", "value"),
        rows=rows,
        encoding={},
    )


def _flat(prefix: str, entries: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in entries.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(f"{name}.", value)
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)
