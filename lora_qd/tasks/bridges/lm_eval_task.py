"""Skills that are tasks of lm-eval: its prompts, filters and metrics, our engines.

Asked as lm-eval's ``local-completions`` asks: raw prompts by default, log-likelihoods
included, so that both come to the same scores. Not done: truncation of prompts that
are too long, which is an error here.
"""

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import (
    Completion,
    Generate,
    Message,
    Request,
    Sample,
    Score,
    Split,
)
from lora_qd.tasks.bridges.lm_eval_loading import CHAT_MARK, Question, load_questions
from lora_qd.tasks.bridges.lm_eval_settings import LmEvalSettings
from lora_qd.tasks.published import PublishedSamples
from lora_qd.tasks.task import sample_id

_SEED = 1234
"""Of sampling, as in lm-eval's requests."""
_PLAIN_OPTIONS = {"until", "max_gen_toks", "max_tokens", "do_sample", "temperature"}


class LmEvalTask:
    """A task or a group of tasks; a sample is one of its documents."""

    def __init__(self, name: str, settings: LmEvalSettings) -> None:
        """Load the task's documents and build their prompts.

        Raises:
            InputError: the task cannot be loaded, or cannot be a skill here.
            MissingExtraError: lm-eval is not installed.
        """
        self.name = name
        self.left_out: Mapping[str, str] = {}
        """Nothing: lm-eval asks about every document."""
        self._settings = settings
        self._questions: dict[str, Question] = {}
        samples: dict[str, Sample] = {}
        for question in load_questions(settings):
            sample = _sample(name, question, taken=self._questions)
            self._questions[sample.id] = question
            samples[sample.id] = sample
        self._samples = PublishedSamples(samples, settings.shares)
        texts = (f"{s.id}\0{s.prompt}\0{s.target}" for s in samples.values())
        self.sha256 = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        """Of all questions and answers."""

    @property
    def all_samples(self) -> Sequence[Sample]:
        """All samples, of all splits."""
        return self._samples.all

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return self._samples.samples(split)

    def opening(self, sample: Sample) -> Sequence[Message]:
        """Return what a candidate is asked; a raw prompt as one turn."""
        request = self._requests(sample)[0]
        return request.messages or (Message("user", request.prompt),)

    def gold(self, sample: Sample) -> Sequence[str]:
        """Return the task's own answer, once per request."""
        return [sample.target] * len(self._requests(sample))

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Ask what lm-eval asks about the document, and score by its metric.

        Raises:
            InputError: the task's code fails on an answer, or a score is not in [0, 1].
        """
        completions = await generate(self._requests(sample))
        start = time.monotonic()
        question = self._questions[sample.id]
        value = _value(question, completions)
        return Score(
            value=value,
            reason="" if value == 1 else f"{question.metric} is {value:g}",
            answer=_answer(question, completions),
            num_prompt_tokens=sum(each.num_prompt_tokens for each in completions),
            num_tokens=sum(each.num_tokens for each in completions),
            seconds=time.monotonic() - start,
        )

    def _requests(self, sample: Sample) -> list[Request]:
        return [
            self._request(instance, seed)
            for instance in self._questions[sample.id].instances
            for seed in range(_SEED, _SEED + _num_asked(instance))
        ]

    def _request(self, instance: Any, seed: int) -> Request:  # noqa: ANN401 - lm-eval's
        context, argument = instance.args
        asked: dict[str, Any] = {"messages": (), "prompt": context}
        if context.startswith(CHAT_MARK):
            turns = json.loads(context.removeprefix(CHAT_MARK))
            asked = {"messages": tuple(Message(**turn) for turn in turns)}
        elif self._settings.bos:
            asked["has_bos"] = True
        if instance.request_type == "loglikelihood":
            return Request(max_tokens=1, continuation=argument, **asked)
        return Request(**asked, **self._decoding(argument, seed))

    def _decoding(self, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Return a task's ``generation_kwargs`` in our words, by lm-eval's rules."""
        temperature = float(options.get("temperature", 0) or 0)
        unknown = sorted({*options} - _PLAIN_OPTIONS)
        if temperature and unknown:
            raise InputError(
                f"expected {self._settings.task!r} to sample by temperature alone, but "
                f"it also sets {', '.join(unknown)}; leave the task out"
            )
        until = options.get("until") or ()
        most = options.get("max_tokens", options.get("max_gen_toks"))
        return {
            "max_tokens": int(most or self._settings.max_tokens),
            "stop": (until,) if isinstance(until, str) else tuple(until),
            "temperature": temperature,
            "seed": seed,
        }


def _num_asked(instance: Any) -> int:  # noqa: ANN401 - lm-eval's
    """Return how often a request is sent: more than once for votes."""
    return int(instance.repeats or 1)


def _sample(name: str, question: Question, *, taken: Mapping[str, Any]) -> Sample:
    doc = json.dumps(question.doc, sort_keys=True, default=str)
    text = f"{question.task_name}\0{doc}"
    id_ = sample_id(name, text)
    copies = 1
    while id_ in taken:  # a benchmark may hold a document twice
        copies += 1
        id_ = sample_id(name, f"{text}\0{copies}")
    context = str(question.instances[0].args[0])
    if context.startswith(CHAT_MARK):
        context = json.loads(context.removeprefix(CHAT_MARK))[-1]["content"]
    return Sample(id_, context, question.target, template=question.task_name)


def _answer(question: Question, completions: Sequence[Completion]) -> str:
    """Return what was written, or the choice that is likeliest."""
    if question.instances[0].request_type != "loglikelihood":
        return completions[0].text
    likeliest = max(range(len(completions)), key=lambda n: completions[n].logprob)
    return str(question.instances[likeliest].args[1])


def _value(question: Question, completions: Sequence[Completion]) -> float:
    """Return the metric of one document, computed as lm-eval does."""
    name = question.task_name
    try:
        value = _metric(question, completions)
    except Exception as error:
        raise InputError(
            f"expected lm-eval's task {name!r} to score its answers, but got "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}; mend the "
            "task or leave it out"
        ) from error
    if not 0 <= value <= 1:
        raise InputError(
            f"expected {question.metric!r} of {name!r} in [0, 1], but got {value:g}; "
            "choose another metric: of the skill"
        )
    return value


def _metric(question: Question, completions: Sequence[Completion]) -> float:
    remaining = iter(completions)
    answered = []
    for instance in question.instances:
        mine = copy.copy(instance)
        own = [next(remaining) for _ in range(_num_asked(instance))]
        is_choice = instance.request_type == "loglikelihood"
        mine.resps = [(c.logprob, c.is_greedy) if is_choice else c.text for c in own]
        mine.filtered_resps = {}
        answered.append(mine)
    for ensemble in question.task._filters:
        ensemble.apply(answered)
    results = [mine.filtered_resps[question.filter] for mine in answered]
    metrics = question.task.process_results(question.doc, results)
    return float(metrics[question.metric])
