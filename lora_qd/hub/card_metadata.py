"""The metadata at the top of a model card, as the Hub reads it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lora_qd.evaluation import Interval
from lora_qd.experts.config import ExpertConfig, HubData
from lora_qd.hub.licences import Terms
from lora_qd.hub.names import plain_name
from lora_qd.runs.config import RunConfig
from lora_qd.runs.finals import AGGREGATE
from lora_qd.runs.results import Results
from lora_qd.tasks.own import DataSkill

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_TAGS = (
    *("lora", "peft", "loraqd", "quality-diversity", "cycleqd", "model-merging"),
    "map-elites",
)
_DATASET = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def card_data(
    config: RunConfig, results: Results, *, repo_id: str, base: str, terms: Terms
) -> "ModelCardData":
    """Return the metadata of a run's card.

    Args:
        config: of the run.
        results: its final table; the aggregate's line becomes the ``model-index``.
        repo_id: ``owner/name`` of the card's repository.
        base: the base's id on the Hub.
        terms: what it is shared under.
    """
    from huggingface_hub import ModelCardData

    licence = _licence(base, terms)
    return ModelCardData(
        base_model=base,
        base_model_relation="adapter",
        library_name="peft",
        pipeline_tag="text-generation",
        license=licence["license"],
        license_name=licence.get("license_name"),
        license_link=licence.get("license_link"),
        tags=list(_TAGS),
        datasets=sorted(set(_datasets(config))) or None,
        model_name=repo_id.partition("/")[2],
        eval_results=_evaluations(config, results) or None,
    )


def training_sets(config: RunConfig) -> dict[str, str]:
    """Return the Hub's ids of what experts learnt from, by expert, if it is there."""
    return {
        expert.name: expert.data.hub
        for expert in config.experts
        if isinstance(expert, ExpertConfig)
        and isinstance(expert.data, HubData)
        and _is_public(expert.data.hub)
    }


def _licence(base: str, terms: Terms) -> dict[str, str]:
    licence = terms.licence
    if licence is None:
        return {"license": "unknown"}
    if licence.is_on_hub:
        return {"license": licence.id}
    link = "LICENSE" if "LICENSE" in terms.files else licence.link
    return {
        "license": "other",
        "license_name": licence.id,
        "license_link": link or f"https://huggingface.co/{base}",
    }


def _datasets(config: RunConfig) -> Iterator[str]:
    """Yield the Hub's ids of what experts learnt from and skills ask."""
    yield from training_sets(config).values()
    for skill in config.all_skills:
        source = _source(config, skill)
        if source:
            yield source


def _source(config: RunConfig, skill: str) -> str | None:
    """Return the Hub's id of the data set that a skill asks, if it is there."""
    own = config.own_skill(skill)
    if isinstance(own, DataSkill):
        hub = own.data.hub
    else:
        settings = config.benchmarks.model_dump(by_alias=True).get(skill) or {}
        hub = settings.get("hub")
    return hub if hub and _is_public(hub) else None


def _is_public(hub: str) -> bool:
    """Whether ``hub`` is an id; a directory of this machine may stand there as well."""
    return bool(_DATASET.fullmatch(hub)) and not Path(hub).exists()


def _evaluations(config: RunConfig, results: Results) -> list["EvalResult"]:
    """Return the aggregate's scores on test: by skill, their mean, and retention."""
    row = next((each for each in results.rows if each.name == AGGREGATE), None)
    if row is None:
        return []
    evaluations = []
    types: set[str] = set()
    for skill in (*results.skills, *results.retention):
        type_ = _source(config, skill)
        if type_ is None or type_ in types:  # one entry for each skill
            type_ = f"loraqd/{plain_name(skill)}"
        types.add(type_)
        num = results.num_samples[skill]
        evaluations.append(_evaluation(skill, type_, row.by_skill[skill], num))
    num = sum(results.num_samples[skill] for skill in results.skills)
    name = f"mean of {', '.join(results.skills)}"
    evaluations.insert(
        len(results.skills), _evaluation(name, "loraqd/mean", row.mean, num)
    )
    return evaluations


def _evaluation(
    name: str, type_: str, score: Interval, num_samples: int
) -> "EvalResult":
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="text-generation",
        task_name="Text generation",
        dataset_type=type_,
        dataset_name=name,
        dataset_split="test",
        metric_type="accuracy",
        metric_name="mean score",
        metric_value=round(score.mean, 4),
        metric_args={
            "interval_95": [round(score.low, 4), round(score.high, 4)],
            "samples": num_samples,
        },
    )
