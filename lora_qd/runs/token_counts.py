"""Tokens of samples: by the base's own tokenizer, or estimated from characters."""

from pathlib import Path
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import Sample
from lora_qd.runs.workload import TokenCounter

_CHARACTERS_PER_TOKEN = 3  # questions are full of numbers and symbols
_TEMPLATE_TOKENS = 12


class RealCounter:
    """Counts as the engine does: one user turn in the base's chat template."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - not typed
        self._tokenizer = tokenizer

    def prompt(self, sample: Sample) -> int:
        """Return the tokens of the prompt."""
        turns = [{"role": "user", "content": sample.prompt}]
        ids = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return len(ids)

    def answer(self, sample: Sample) -> int:
        """Return the tokens of the gold answer and the end token."""
        ids = self._tokenizer.encode(sample.target, add_special_tokens=False)
        return len(ids) + 1


class EstimatedCounter:
    """Three characters a token, and a dozen tokens for the chat template."""

    def prompt(self, sample: Sample) -> int:
        """Return the tokens of the prompt, about."""
        return _TEMPLATE_TOKENS + _estimate(sample.prompt)

    def answer(self, sample: Sample) -> int:
        """Return the tokens of the gold answer, about."""
        return 1 + _estimate(sample.target)


def token_counter(directory: Path | None) -> TokenCounter:
    """Return the counter for the base in ``directory``; None: it is not on this disk.

    Estimates where there is no ``tokenizer.json``, or transformers is not installed.

    Raises:
        InputError: the tokenizer is damaged or has no chat template.
    """
    if directory is None or not (directory / "tokenizer.json").is_file():
        return EstimatedCounter()
    try:
        # Not AutoTokenizer, whose import takes two seconds more.
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        return EstimatedCounter()
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    except Exception as error:  # the Rust library raises nothing narrower
        raise InputError(
            f"expected a tokenizer in {directory}, but it does not load: "
            f"{str(error).splitlines()[0]}; copy or download it again"
        ) from error
    if not tokenizer.chat_template:
        raise InputError(
            f"expected a chat template in the tokenizer of {directory}, but there is "
            "none; use an instruction-tuned base model"
        )
    return RealCounter(tokenizer)


def _estimate(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
