"""Builds the tiny Llama that ships with the project, from a seed and our own text.

Two stages: general exercises and the languages of the skills first, then the same with
a small share of solved questions. That share decides what experts and merges can reach;
``adapters/README.md`` has the figures.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.experts.tiny_corpus import Mixture, tiny_corpus
from lora_qd.experts.tiny_shape import TinyShape
from lora_qd.experts.tiny_tokenizer import build_tokenizer

if TYPE_CHECKING:
    from lora_qd.experts.tiny_pretraining import Stage

_LINES_PER_SOURCE = 4000


@dataclass(frozen=True, slots=True)
class TinyRecipe:
    """How long the model reads what; the defaults make the shipped model."""

    shape: TinyShape = field(default_factory=TinyShape)
    num_of_skill: int = 12_000
    """Distinct questions of each skill in the corpus."""
    num_general: int = 40_000
    """Distinct general exercises in the corpus."""
    num_first: int = 6000
    """Steps of the first stage, 32 passages each."""
    num_second: int = 1500
    """Steps of the second stage."""
    solved_shares: tuple[tuple[str, float], ...] = (
        ("code", 0.025),
        ("database", 0.045),
        ("shell", 0.024),
    )
    """Share of solved questions in the second stage, by skill."""

    def stages(self) -> tuple["Stage", "Stage"]:
        """Return the two stages, in order."""
        from lora_qd.experts.tiny_pretraining import Stage

        solved = dict(self.solved_shares)
        first = Mixture(general=0.5, line=0.2, question=0.1, repeat=0.2, solved={})
        second = Mixture(
            general=0.5 - sum(solved.values()),
            line=0.2,
            question=0.1,
            repeat=0.2,
            solved=solved,
        )
        return (
            Stage("stage 1", first, self.num_first, 1.5e-3, 3e-4),
            Stage("stage 2", second, self.num_second, 1e-3, 0.0),
        )


def build_tiny_base(
    out: Path,
    *,
    seed: int,
    progress: Callable[[str], None],
    recipe: TinyRecipe | None = None,
) -> None:
    """Train the tiny Llama and write it to the new directory ``out``.

    Two to four million parameters in bfloat16 safetensors, a fast tokenizer and
    Llama 3's chat template. Takes about a quarter of an hour on two cores. The same
    seed gives the same kind of model; its bits depend on the processor.

    Args:
        out: where to write.
        seed: source of the text, the initial weights and the order.
        progress: told what happens, a sentence at a time.
        recipe: sizes and lengths; the shipped model's by default.

    Raises:
        InputError: ``out`` exists.
        MissingExtraError: transformers is not installed.
    """
    try:
        from lora_qd.experts.tiny_pretraining import pretrain
        from lora_qd.experts.tiny_weights import new_model, save_model
    except ImportError as error:
        raise MissingExtraError("building the tiny Llama", "train") from error
    if out.exists():
        raise InputError(
            f"expected {out} not to exist, but it does; name another directory or "
            "delete it"
        )
    recipe = recipe or TinyRecipe()
    progress("Generating text")
    corpus = tiny_corpus(
        seed, num_of_skill=recipe.num_of_skill, num_general=recipe.num_general
    )
    lines = corpus.lines(_LINES_PER_SOURCE, random.Random(f"tokenizer/{seed}"))
    tokenizer = build_tokenizer(lines, vocab_size=recipe.shape.vocab_size)
    model = new_model(recipe.shape, tokenizer, seed=seed)
    progress(f"Training {model.num_parameters():,} parameters")
    for stage in recipe.stages():
        pretrain(model, tokenizer, corpus, stage, seed=seed, progress=progress)
    save_model(model, tokenizer, out)
