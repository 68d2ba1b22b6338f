"""Tasks of lm-eval, loaded with their prompts; nothing is printed or left changed."""

import contextlib
import io
import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.tasks.bridges.lm_eval_settings import LmEvalSettings

_FEWSHOT_SEED = 1234
"""What lm-eval's own command draws examples with."""
CHAT_MARK = "\0chat"
"""Begins a context that is a conversation in JSON rather than a text."""


@dataclass(frozen=True, slots=True)
class Question:
    """One document of a task with what a model is asked about it."""

    task: Any
    """lm-eval's."""
    task_name: str
    doc: Mapping[str, Any]
    instances: Sequence[Any]
    """What is asked, in lm-eval's order; not to be changed."""
    target: str
    """The gold answer as text: of a choice what is written for it."""
    metric: str
    filter: str


@lru_cache(maxsize=64)
def load_questions(settings: LmEvalSettings) -> tuple[Question, ...]:
    """Return all questions of the tasks that ``settings`` name, in lm-eval's order.

    Remembered: the prompts of a large group take minutes.

    Raises:
        InputError: there is no such task, its data cannot be loaded, or it cannot be a
            skill here.
        MissingExtraError: lm-eval is not installed.
    """
    with _quiet(), _seeded():
        tasks, metric = _tasks(settings)
        settings = settings.model_copy(update={"metric": settings.metric or metric})
        for task in tasks:
            _prepare(task, settings)
        return tuple(q for task in tasks for q in _questions(task, settings))


def _tasks(settings: LmEvalSettings) -> tuple[list[Any], str | None]:
    """Return the tasks, and the metric that their group aggregates, if it does."""
    try:
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        need = f"the skill lm-eval:{settings.task}"
        raise MissingExtraError(need, "lm-eval") from error
    manager = _index_for(settings)
    try:
        loaded = manager.load([settings.task])
    except (OSError, ValueError, KeyError, TypeError, DatasetsError) as error:
        raise InputError(
            f"expected lm-eval to load its task {settings.task!r}, but got: "
            f"{_line(error)}; check its data and the network"
        ) from error
    for group in loaded["groups"].values():
        _check_group(group)
    top = loaded["groups"].get(settings.task)
    aggregated = [m.metric for m in (top.aggregate_metric_list or ())] if top else []
    return list(loaded["tasks"].values()), next(iter(aggregated), None)


def _index_for(settings: LmEvalSettings) -> Any:  # noqa: ANN401 - lm-eval's
    """Return who knows the task; lm-eval's own are indexed only where needed."""
    include = settings.include
    if include is not None and not include.is_dir():
        raise InputError(
            f"expected a directory of tasks at {include}, but there is none; check "
            "include: of the skill"
        )
    own = _index(str(include), has_defaults=False) if include else None
    if own and settings.task in own.all_subtasks:
        return own
    manager = _index(str(include) if include else None, has_defaults=True)
    if settings.task not in manager.all_tasks:
        raise InputError(
            f"expected a task of lm-eval, but it has no {settings.task!r}; "
            "'lm-eval ls tasks' shows all, include: names a directory of your own"
        )
    return manager


@lru_cache(maxsize=8)
def _index(include: str | None, *, has_defaults: bool) -> Any:  # noqa: ANN401 - as above
    """Index task files, which takes seconds for lm-eval's own."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtraError("a skill lm-eval:<task>", "lm-eval") from error
    return TaskManager(include_path=include, include_defaults=has_defaults)


def _check_group(group: Any) -> None:  # noqa: ANN401 - lm-eval's
    """Refuse a group whose score is not the mean over all its samples."""
    for metric in group.aggregate_metric_list or ():
        if not metric.weight_by_size:
            raise InputError(
                f"expected a group whose score is the mean over its samples, but "
                f"{group.name!r} is a mean over tasks; name its tasks one by one"
            )


def _prepare(task: Any, settings: LmEvalSettings) -> None:  # noqa: ANN401 - lm-eval's
    """Do what lm-eval's command does before it builds prompts."""
    name = task.task_name
    if getattr(task, "UNSAFE_CODE", False):  # only some tasks have it
        raise InputError(
            f"expected a task that executes nothing, but {name!r} runs what the model "
            "wrote without a sandbox; use humaneval, humaneval+, mbpp or mbpp+ of "
            "loraqd, or a skill of your own"
        )
    has_pictures = getattr(task, "MULTIMODAL", False)
    if has_pictures or task.OUTPUT_TYPE == "loglikelihood_rolling":
        fact = "pictures" if has_pictures else "perplexities"
        raise InputError(
            f"expected a task with questions in text and scores in [0, 1], but "
            f"{name!r} has {fact}; leave it out"
        )
    own = task.get_config("num_fewshot")
    if settings.num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=settings.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)


def _questions(
    task: Any,  # noqa: ANN401 - lm-eval's
    settings: LmEvalSettings,
) -> Iterator[Question]:
    name = str(task.task_name)  # drawn anew from random numbers at every access
    metric, filter_ = _metric(task, settings), _filter(task, settings)
    docs = list(task.eval_docs)[: settings.limit]
    if not docs:
        raise InputError(
            f"expected documents in lm-eval's task {task.task_name!r}, but there are "
            "none; check its data"
        )
    try:
        task.build_all_requests(
            limit=settings.limit,
            apply_chat_template=settings.chat,
            fewshot_as_multiturn=settings.chat,
            chat_template=_conversation if settings.chat else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"expected lm-eval to build the prompts of {task.task_name!r}, but got: "
            f"{_line(error)}; check the task's templates and its data"
        ) from error
    instances: dict[int, list[Any]] = {n: [] for n in range(len(docs))}
    for instance in task.instances:
        instances[instance.doc_id].append(instance)
    for number, doc in enumerate(docs):
        asked = sorted(instances[number], key=lambda each: int(each.idx))
        target = _target(task, doc, asked)
        yield Question(task, name, doc, asked, target, metric, filter_)


def _target(task: Any, doc: Mapping[str, Any], asked: Sequence[Any]) -> str:  # noqa: ANN401 - lm-eval's
    target = task.doc_to_target(doc)
    if isinstance(target, list):
        target = target[0] if target else ""
    if task.OUTPUT_TYPE == "multiple_choice" and isinstance(target, int):
        return str(asked[target].args[1])
    return str(target)


def _metric(task: Any, settings: LmEvalSettings) -> str:  # noqa: ANN401 - lm-eval's
    """Return the metric that is the score; its aggregate is the mean over samples."""
    rising = task.higher_is_better()
    known = [
        name
        for name, aggregate in task.aggregation().items()
        if getattr(aggregate, "__name__", "") in ("mean", "nanmean")
        and rising.get(name, True)
    ]
    wanted = settings.metric or (known[0] if known else "")
    if wanted not in known:
        raise InputError(
            f"expected a metric of {task.task_name!r} that is a mean, higher is "
            f"better, one of {', '.join(known) or 'none'}, but got {wanted!r}; set "
            "metric: of the skill"
        )
    return wanted


def _filter(task: Any, settings: LmEvalSettings) -> str:  # noqa: ANN401 - lm-eval's
    known = [str(ensemble.name) for ensemble in task._filters]
    wanted = settings.filter or known[0]
    if wanted not in known:
        raise InputError(
            f"expected a filter of {task.task_name!r}, one of {', '.join(known)}, but "
            f"got {wanted!r}; set filter: of the skill"
        )
    return wanted


def _conversation(
    turns: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
) -> str:
    """Stand in for a chat template: engines have the base's own."""
    if not add_generation_prompt:
        raise InputError(
            "expected a task whose answers begin with the assistant's turn, but it "
            "writes their beginning (gen_prefix); set chat: false for it"
        )
    return CHAT_MARK + json.dumps(list(turns))


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Draw as lm-eval's command does, and leave the generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - its own
    random.seed(0)
    np.random.seed(1234)  # noqa: NPY002 - it draws from the global one
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 - as it was
