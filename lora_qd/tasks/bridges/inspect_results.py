"""What became of samples, out of Inspect's log, in its process."""

from typing import Any

from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.scorer import value_to_float

from lora_qd.tasks.bridges.inspect_candidate import PROVIDER
from lora_qd.tasks.bridges.inspect_loading import Refusal, one_line


def outcome(log: EvalLog, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of one candidate by sample id, or why there are none."""
    samples = log.samples or ()
    if log.status != "success":
        failed = [(s.id, s.error.message) for s in samples if s.error]
        if failed:
            return {
                "error": "raised {1} on sample {0}".format(*map(one_line, failed[0]))
            }
        return {"error": f"ended: {one_line(log.error and log.error.message)}"}
    try:
        return {"scores": {s.id: _score(s, settings) for s in samples}}
    except Refusal as refusal:
        return {"error": str(refusal)}


def _score(sample: EvalSample, settings: dict[str, Any]) -> dict[str, Any]:
    if _grades_itself(sample):
        raise Refusal("has a scorer that asks a model, here the candidate itself")
    scores = sample.scores or {}
    name = settings["scorer"] or next(iter(scores), "")
    if name not in scores:
        raise Refusal(f"has the scorers {', '.join(scores)}, not {name!r}")
    value = scores[name].value
    if isinstance(value, dict):
        key = settings["metric"] or next(iter(value))
        if key not in value:
            raise Refusal(f"has scores with {', '.join(value)}, not {key!r}")
        value = value[key]
    usage = list(sample.model_usage.values())
    said = [m.text for m in sample.messages if m.role == "assistant"]
    return {
        "value": value_to_float()(value),
        "reason": one_line(scores[name].explanation or ""),
        "answer": "\n\n".join(said) or sample.output.completion,
        "num_prompt_tokens": sum(each.input_tokens for each in usage),
        "num_tokens": sum(each.output_tokens for each in usage),
        "seconds": _seconds_of_scoring(sample),
    }


def _grades_itself(sample: EvalSample) -> bool:
    """Return whether the candidate was asked in the course of scoring."""
    scoring: set[str] = set()
    for event in sample.events:
        if event.event == "span_begin" and (
            event.type == "scorer"
            or event.name == "scorers"
            or event.parent_id in scoring
        ):
            scoring.add(event.id)
        is_asked = event.event == "model" and event.model.startswith(f"{PROVIDER}/")
        if is_asked and event.span_id in scoring:
            return True
    return False


def _seconds_of_scoring(sample: EvalSample) -> float:
    """Return the wall time of a sample, less that of its answers."""
    asking = sum(
        (event.completed - event.timestamp).total_seconds()
        for event in sample.events
        if event.event == "model" and event.completed
    )
    return max(0.0, (sample.total_time or 0.0) - asking)
