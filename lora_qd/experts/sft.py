"""Supervised fine-tuning of one LoRA adapter with TRL, in memory.

Writes nothing but a scratch directory that goes away. Imports torch, transformers,
peft and trl; import it inside functions only.
"""

import gc
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import SFTConfig, SFTTrainer

from lora_qd.engines.quantization import check_checkpoint, nf4_config
from lora_qd.errors import InputError, TrainingError
from lora_qd.experts.config import TrainingConfig
from lora_qd.experts.data import Example
from lora_qd.experts.reporter import Progress, Reporter
from lora_qd.experts.tokens import TokenisedExample, tokenise

_NUM_HELD_OUT = 64
_NUM_REPORTS = 50
_SHORT = 256
"""Tokens up to which plain attention is the fastest on a CPU."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained adapter in memory and how training went."""

    weights: bytes
    """``adapter_model.safetensors``."""
    adapter_config: bytes
    """``adapter_config.json``."""
    loss_before: float
    """Mean loss per token of the held-out examples, base model alone."""
    loss_after: float
    """The same with the adapter."""
    num_steps: int
    num_examples: int
    """Examples trained on."""
    num_too_long: int
    """Examples left out because they exceed ``max_length``."""


def fit(
    base: str,
    training: TrainingConfig,
    examples: Sequence[Example],
    *,
    base_name: str,
    progress: Progress | None,
) -> Fit:
    """Train an adapter on ``base``.

    Up to 64 examples (a twentieth where there are few) are held out to measure the
    loss before and after.

    Args:
        base: directory or Hub id of the base model.
        training: the settings.
        examples: at least two.
        base_name: what the adapter calls its base.
        progress: told how it goes.

    Raises:
        InputError: the base or the examples cannot be used.
        TrainingError: training broke down.
    """
    try:
        with tempfile.TemporaryDirectory() as scratch:
            return _fit(base, training, examples, base_name, progress, scratch)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        remedy = (
            "lower micro_batch_size or set gradient_checkpointing"
            if "memory" in str(error)
            else "--debug shows where"
        )
        raise TrainingError(
            f"expected training on {base} to run, but got: {_first_line(error)}; "
            f"{remedy}"
        ) from error
    finally:
        gc.collect()  # trainer and model refer to each other


def _fit(
    base: str,
    training: TrainingConfig,
    examples: Sequence[Example],
    base_name: str,
    progress: Progress | None,
    scratch: str,
) -> Fit:
    tokenizer = _load_tokenizer(base)
    rows = tokenise(examples, tokenizer, max_length=training.max_length)
    held_out, rows = _held_out(rows, training)
    longest = max(len(row.ids) for row in rows)
    model = _load_base(base, training, longest=longest)
    trainer = _trainer(model, tokenizer, rows, training, scratch)
    trainer.add_callback(Reporter(progress))
    loss_before = _mean_loss(trainer, held_out)
    trainer.train()
    return Fit(
        weights=_weights(trainer.model),
        adapter_config=_adapter_config(trainer.model, base_name),
        loss_before=loss_before,
        loss_after=_mean_loss(trainer, held_out),
        num_steps=trainer.state.global_step,
        num_examples=len(rows),
        num_too_long=len(examples) - len(rows) - len(held_out),
    )


def _load_tokenizer(base: str) -> Any:  # noqa: ANN401 - transformers is not typed
    try:
        return AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a tokenizer in {base}, but got: {_first_line(error)}; use a "
            "directory that save_pretrained wrote, or a Hub id"
        ) from error


def _load_base(base: str, training: TrainingConfig, *, longest: int) -> Any:  # noqa: ANN401 - as above
    check_checkpoint(base, training.quantization)
    options: dict[str, Any] = {"dtype": getattr(torch, training.dtype)}
    if longest <= _SHORT and not _is_on_cuda(training):
        options["attn_implementation"] = "eager"  # SDPA's backward is slow there
    if training.quantization == "nf4":
        options["quantization_config"] = nf4_config(training.dtype)
        options["device_map"] = {"": 0 if _is_on_cuda(training) else "cpu"}
    try:
        model = AutoModelForCausalLM.from_pretrained(base, **options)
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a causal language model in {base}, but got: "
            f"{_first_line(error)}; use a directory that save_pretrained wrote, or a "
            "Hub id"
        ) from error
    model.config.use_cache = False
    return model


def _is_on_cuda(training: TrainingConfig) -> bool:
    has_cuda = torch.cuda.is_available()
    if training.device == "cuda" and not has_cuda:
        raise InputError(
            "expected a CUDA device (device: cuda), but there is none; write device: "
            "auto or cpu"
        )
    return has_cuda and training.device != "cpu"


def _held_out(
    rows: list[TokenisedExample], training: TrainingConfig
) -> tuple[list[TokenisedExample], list[TokenisedExample]]:
    """Return the examples to measure the loss on and those to train on."""
    num = min(_NUM_HELD_OUT, max(1, len(rows) // 20))
    if len(rows) < 2:
        raise InputError(
            f"expected at least 2 examples of at most {training.max_length} tokens, "
            f"but got {len(rows)}; give more examples or raise max_length"
        )
    return rows[:num], rows[num:]


def _dataset(rows: Sequence[TokenisedExample]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {
            "input_ids": [row.ids for row in rows],
            "labels": [row.labels for row in rows],
            "length": [len(row.ids) for row in rows],
        }
    )


def _trainer(
    model: Any,  # noqa: ANN401 - transformers is not typed
    tokenizer: Any,  # noqa: ANN401
    rows: Sequence[TokenisedExample],
    training: TrainingConfig,
    scratch: str,
) -> SFTTrainer:
    trainer = SFTTrainer(
        model=model,
        args=_arguments(training, len(rows), scratch),
        train_dataset=_dataset(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=training.rank,
            lora_alpha=training.alpha,
            lora_dropout=training.dropout,
            target_modules=training.target_modules,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(training: TrainingConfig, num_rows: int, scratch: str) -> SFTConfig:
    micro_batch = training.micro_batch_size or training.batch_size
    num_steps = math.ceil(training.epochs * math.ceil(num_rows / training.batch_size))
    num_steps = min(num_steps, training.max_steps or num_steps)
    arguments = SFTConfig(
        output_dir=scratch,
        seed=training.seed,
        max_length=None,  # longer examples are gone already
        train_sampling_strategy="group_by_length",
        per_device_train_batch_size=micro_batch,
        per_device_eval_batch_size=micro_batch,
        gradient_accumulation_steps=training.batch_size // micro_batch,
        max_steps=num_steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup * num_steps),
        weight_decay=training.weight_decay,
        gradient_checkpointing=training.gradient_checkpointing,
        bf16=training.dtype == "bfloat16",
        use_cpu=not _is_on_cuda(training),
        dataloader_pin_memory=False,
        logging_steps=max(1, num_steps // _NUM_REPORTS),
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process trains on one device
    return arguments


def _mean_loss(trainer: SFTTrainer, rows: Sequence[TokenisedExample]) -> float:
    return float(trainer.evaluate(_dataset(rows))["eval_loss"])


def _weights(model: Any) -> bytes:  # noqa: ANN401 - peft is not typed
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise TrainingError(
                f"expected finite factors, but {name} is not; lower learning_rate"
            )
    whole = {
        name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)
    }
    return bytes(save(whole, metadata={"format": "pt"}))


def _adapter_config(model: Any, base_name: str) -> bytes:  # noqa: ANN401 - as above
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = base_name
    config["inference_mode"] = True
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    return json.dumps(plain, indent=2, sort_keys=True).encode() + b"\n"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
