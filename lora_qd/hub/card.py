"""The model card: README.md of a shared repository, for people and for the Hub.

It says what was measured and what was not. Not done: citations, advice on uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import lora_qd
from lora_qd.engines.server_settings import VLLM_RANKS
from lora_qd.errors import InputError
from lora_qd.hub.card_lineage import lineage_heads, lineage_rows, lineage_text
from lora_qd.hub.card_lines import (
    adapter_lines,
    findings,
    licence_text,
    limits,
    recipe,
)
from lora_qd.hub.card_metadata import card_data
from lora_qd.hub.identity import Base
from lora_qd.hub.licences import Terms
from lora_qd.hub.names import escaped, listing
from lora_qd.runs.results import Results, markdown
from lora_qd.runs.run import Run


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card tells beside the run itself."""

    repo_id: str
    """``owner/name`` of the repository."""
    base: Base
    terms: Terms
    """What it is shared under."""
    folders: Mapping[str, str]
    """Folder by the name that a member is served under; ``""`` is the root."""
    pictures: tuple[str, ...]
    """Paths of pictures in the repository."""


def model_card(run: Run, facts: CardFacts) -> str:
    """Return the card of a finished run: metadata, then Markdown.

    Raises:
        InputError: the run is not finished.
    """
    from huggingface_hub import ModelCard
    from jinja2 import Environment, StrictUndefined

    results = run.results
    if results is None:
        raise InputError(
            f"expected a finished run in {run.directory.path}, but it has no results "
            f"yet; run: loraqd resume {run.directory.path}"
        )
    data = card_data(
        run.config,
        results,
        repo_id=facts.repo_id,
        base=facts.base.model,
        terms=facts.terms,
    )
    environment = Environment(  # Markdown, whose own marks names have been rid of
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = (files("lora_qd.hub") / "assets" / "card.md.jinja").read_text("utf-8")
    body = environment.from_string(source).render(_values(run, results, facts))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def _values(run: Run, results: Results, facts: CardFacts) -> dict[str, Any]:
    """Return what the template asks for."""
    config, licence = run.config, facts.terms.licence
    rank = config.engine.serve_rank
    served = [folder for folder in facts.folders.values() if folder]
    name = facts.repo_id.partition("/")[2]
    return {
        "title": escaped(name),
        "name": name,
        "repo_id": facts.repo_id,
        "base": facts.base.model,
        "attribution": licence.attribution if licence else "",
        "num_experts": len(config.skills),
        "skills": listing([escaped(skill) for skill in config.skills]),
        "num_folders": len(served),
        "findings": findings(results),
        "adapters": adapter_lines(run, results, facts.folders),
        "rank": rank,
        "retention": listing([escaped(skill) for skill in results.retention]),
        "num_retention": len(results.retention),
        "table": markdown(_escaped(results)).strip(),
        "example": facts.folders.get(config.skills[0], ""),
        "serve_options": _serve_options(rank, config.engine.quantization),
        "pictures": [_picture(path) for path in facts.pictures],
        "recipe": recipe(config, facts.base),
        "lineage_text": lineage_text(run, results),
        "heads": " | ".join(lineage_heads(config)),
        "rule": " --- |" * len(lineage_heads(config)),
        "lineage": lineage_rows(run),
        "costs": results.costs.sentences() if results.costs else [],
        "limits": limits(config, results),
        "licence": licence_text(facts.base.model, facts.terms),
        "version": lora_qd.__version__,
    }


def _escaped(results: Results) -> Results:
    """Return the table with names that Markdown shows as they are; without costs."""
    rows = tuple(
        replace(
            row,
            name=escaped(row.name),
            by_skill={escaped(skill): score for skill, score in row.by_skill.items()},
        )
        for row in results.rows
    )
    return replace(
        results,
        skills=tuple(escaped(skill) for skill in results.skills),
        retention=tuple(escaped(skill) for skill in results.retention),
        rows=rows,
        num_samples={escaped(s): num for s, num in results.num_samples.items()},
        costs=None,
        notes={key: escaped(note) for key, note in results.notes.items()},
    )


def _serve_options(rank: int, quantization: str) -> str:
    """Return what vLLM's command needs beside the base, as for the run's scores."""
    largest = min(each for each in VLLM_RANKS if each >= rank)
    loaded = {"nf4": "bitsandbytes", "fp8": "fp8"}.get(quantization)
    option = f" --quantization {loaded}" if loaded else ""
    return f"{option} --enable-lora --max-lora-rank {largest}"


def _picture(path: str) -> dict[str, str]:
    stem = path.rpartition("/")[2].removesuffix(".png")
    return {"path": path, "title": escaped(stem.replace("-", " "))}
