"""Pre-training of the tiny Llama on a CPU. Imports torch: import inside functions."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from lora_qd.experts.tiny_corpus import Corpus, Mixture, Passage

_IGNORED = -100
_BATCHES_PER_SORT = 64
"""Passages of so many batches are sorted by length, which saves padding."""
_WARMUP = 50
_NUM_REPORTS = 20


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of pre-training."""

    name: str
    mixture: Mixture
    num_steps: int
    learning_rate: float
    """The peak; reached after a short warm-up."""
    last_rate: float
    """The rate at the end, reached along a cosine."""
    batch_size: int = 32
    """Passages of a step."""


Batch = tuple[torch.Tensor, torch.Tensor]
"""Token ids and labels, both ``(passages, tokens)`` int64; ``-100`` carries no loss."""


def pretrain(
    model: Any,  # noqa: ANN401 - transformers is not typed
    tokenizer: Any,  # noqa: ANN401
    corpus: Corpus,
    stage: Stage,
    *,
    seed: int,
    progress: Callable[[str], None],
) -> None:
    """Train all weights of ``model`` in place for one stage.

    Args:
        model: a causal language model in float32.
        tokenizer: with a chat template.
        corpus: where passages come from.
        stage: how long, on what mixture and how fast.
        seed: decides which passages are drawn.
        progress: told the loss now and then.
    """
    batches = _batches(corpus, tokenizer, stage, random.Random(f"{stage.name}/{seed}"))
    optimizer = _optimizer(model, stage.learning_rate)
    model.train()
    loss_sum, num_summed = 0.0, 0
    for step, (ids, labels) in enumerate(islice(batches, stage.num_steps)):
        for group in optimizer.param_groups:
            group["lr"] = _rate(stage, step)
        loss = _loss(model, ids, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss_sum, num_summed = loss_sum + loss.item(), num_summed + 1
        if (step + 1) % max(1, stage.num_steps // _NUM_REPORTS) == 0:
            mean = loss_sum / num_summed
            progress(
                f"{stage.name}: step {step + 1} of {stage.num_steps}, loss {mean:.3f}"
            )
            loss_sum, num_summed = 0.0, 0
    model.eval()


def _loss(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """Return the mean loss per counted token; only those reach the vocabulary."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(ids).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        is_counted = wanted != _IGNORED
        logits = model.lm_head(hidden[is_counted])
    return cross_entropy(logits.float(), wanted[is_counted])


def _optimizer(model: Any, learning_rate: float) -> torch.optim.AdamW:  # noqa: ANN401
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )


def _rate(stage: Stage, step: int) -> float:
    if step < _WARMUP:
        return stage.learning_rate * (step + 1) / _WARMUP
    done = (step - _WARMUP) / max(1, stage.num_steps - _WARMUP)
    span = stage.learning_rate - stage.last_rate
    return stage.last_rate + span * 0.5 * (1 + math.cos(math.pi * done))


def _batches(
    corpus: Corpus,
    tokenizer: Any,  # noqa: ANN401 - transformers is not typed
    stage: Stage,
    rng: random.Random,
) -> Iterator[Batch]:
    """Yield batches of passages of similar length, for ever."""
    passages = corpus.passages(stage.mixture, rng)
    size = stage.batch_size
    while True:
        chunk = list(islice(passages, size * _BATCHES_PER_SORT))
        rows = sorted(_encode(chunk, tokenizer), key=lambda row: len(row[0]))
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        rng.shuffle(groups)
        for group in groups:
            yield _padded(group, tokenizer.pad_token_id)


def _encode(
    passages: Sequence[Passage],
    tokenizer: Any,  # noqa: ANN401 - transformers is not typed
) -> list[tuple[list[int], list[int]]]:
    """Return token ids and labels of every passage."""
    head, turn = _frame(tokenizer)
    prompts = tokenizer([p.prompt for p in passages], add_special_tokens=False)
    answers = tokenizer([p.answer for p in passages], add_special_tokens=False)
    end = tokenizer.eos_token_id
    rows = []
    for passage, prompt, answer in zip(
        passages, prompts["input_ids"], answers["input_ids"], strict=True
    ):
        asked = [*prompt, end]
        if passage.is_question_learned:
            rows.append((head + asked, [_IGNORED] * len(head) + asked))
        else:
            context = head + asked + turn
            reply = [*answer, end]
            rows.append((context + reply, [_IGNORED] * len(context) + reply))
    return rows


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """Return the tokens before the user's text and before the assistant's."""
    mark = "x"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True
    )
    head, turn = text.split(mark + tokenizer.eos_token)
    ids = tokenizer([head, turn], add_special_tokens=False)["input_ids"]
    return ids[0], ids[1]


def _padded(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    ids = [row + [pad] * (longest - len(row)) for row, _ in rows]
    labels = [row + [_IGNORED] * (longest - len(row)) for _, row in rows]
    return torch.tensor(ids), torch.tensor(labels)
