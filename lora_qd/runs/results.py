"""The final table: who was compared on the untouched test split, and who is who."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_qd.errors import StoreError
from lora_qd.evaluation import Interval, mean_interval, wilson_interval
from lora_qd.records import StageSeconds
from lora_qd.runs.costs import Costs
from lora_qd.store.files import write_bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    """What the line is: ``base``, ``expert code``, ``merge 0.6``, ..."""
    member: str
    """The member's id; ``base`` for the bare base."""
    by_skill: Mapping[str, Interval]
    """Test score by skill, retention skills included."""
    mean: Interval
    """Of the plain mean over the skills, retention left out."""
    dropped_energy: float
    """Share of the squared norm that truncation to the serve rank dropped."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that a finished run says of itself."""

    skills: tuple[str, ...]
    retention: tuple[str, ...]
    rows: tuple[Row, ...]
    members: Mapping[str, str]
    """Member ids by the name that they are served and exported under."""
    num_samples: Mapping[str, int]
    """Test samples by skill."""
    costs: Costs | None
    """None for a run of a version that did not keep them."""
    notes: Mapping[str, str]
    """Seed, processor, versions, seconds: what a reader needs to repeat it."""

    def retained(self, row: Row) -> list[str]:
        """Return the scores on the retention skills, each as a share of the base's."""
        base = next((each for each in self.rows if each.member == "base"), None)
        return [retained_cell(row.by_skill, base, skill) for skill in self.retention]


def retained_cell(
    by_skill: Mapping[str, Interval], base: Row | None, skill: str
) -> str:
    """Return a score, and what share of the base's it is where that is above 0."""
    whole = base.by_skill[skill].mean if base else 0.0
    share = f" ({by_skill[skill].mean / whole:.0%})" if whole else ""
    return f"{by_skill[skill]}{share}"


def row(
    name: str,
    member: str,
    values: Mapping[str, Sequence[float]],
    skills: Sequence[str],
    *,
    dropped_energy: float = 0.0,
) -> Row:
    """Return the line of one member from its sample scores by skill."""
    by_skill = {skill: wilson_interval(scores) for skill, scores in values.items()}
    mean = mean_interval([values[skill] for skill in skills])
    return Row(name, member, by_skill, mean, dropped_energy)


def save_results(results: Results, path: Path) -> None:
    """Write ``results`` as JSON."""
    write_bytes(path, json.dumps(asdict(results), indent=2).encode() + b"\n")


def load_results(path: Path) -> Results:
    """Read what :func:`save_results` wrote.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        raw = json.loads(path.read_text())
        rows = tuple(
            Row(
                name=r["name"],
                member=r["member"],
                by_skill={k: Interval(**v) for k, v in r["by_skill"].items()},
                mean=Interval(**r["mean"]),
                dropped_energy=r["dropped_energy"],
            )
            for r in raw["rows"]
        )
        return Results(
            skills=tuple(raw["skills"]),
            retention=tuple(raw["retention"]),
            rows=rows,
            members=raw["members"],
            num_samples=raw["num_samples"],
            costs=_costs(raw["costs"]) if "costs" in raw else None,
            notes=raw["notes"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"expected the results of a run in {path}, but got: {error!r}"
        ) from error


def _costs(raw: Mapping[str, Any]) -> Costs:
    stages = StageSeconds(**raw["stages"])
    return Costs(**{**raw, "stages": stages})


def markdown(results: Results) -> str:
    """Return the table as Markdown, with the run's notes below it."""
    heads = ["", *results.skills, "**mean**", *results.retention, "energy dropped"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for r in results.rows:
        lines.append(
            _line(
                [
                    r.name,
                    *(str(r.by_skill[s]) for s in results.skills),
                    f"**{r.mean}**",
                    *results.retained(r),
                    f"{r.dropped_energy:.1%}",
                ]
            )
        )
    notes = "; ".join(f"{key}: {value}" for key, value in results.notes.items())
    samples = ", ".join(f"{n} {skill}" for skill, n in results.num_samples.items())
    sentences = results.costs.sentences() if results.costs else []
    costs = [f"- {sentence}" for sentence in sentences]
    return "\n".join([*lines, "", f"Test samples: {samples}. {notes}.", "", *costs, ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
