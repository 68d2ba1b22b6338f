"""``adapter_config.json``: rank and scale of each module by PEFT's rules.

Refused by name: whatever makes an adapter more than ``B @ A`` on linear layers of an
unchanged base. Not checked: fields that only steer training, and unknown fields.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_qd.errors import InputError

CONFIG_NAME = "adapter_config.json"

_WITHOUT = "train it without"
_REFUSED = {
    "use_dora": "DoRA",
    "modules_to_save": "fully trained modules (modules_to_save)",
    "trainable_token_indices": "trained token embeddings (trainable_token_indices)",
    "target_parameters": "adapted parameters (target_parameters)",
    "layer_replication": "layer replication",
    "lora_bias": "a bias in B (lora_bias)",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal factors (BD-LoRA)",
    "alora_invocation_tokens": "an invocation string (aLoRA)",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
}
"""What is refused where the field is set. VeLoRA changes training only and is read."""
_HARMLESS_INITS = ("gaussian", "eva", "orthogonal", "mica")
_CONVERTIBLE_INITS = ("pissa", "olora", "corda", "lora_ga")
_UNCHANGED = "set init_lora_weights to true if its base holds the changed weights"

Patterns = tuple[tuple[re.Pattern[str], float], ...]


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """What a LoRA config says about the weights beside it."""

    base: str
    """``base_model_name_or_path``; empty if the config does not name it."""
    rank: int
    """``r``, the rank of modules that no pattern matches."""
    alpha: float
    """``lora_alpha``, likewise."""
    use_rslora: bool
    """Whether the scaling is ``alpha / sqrt(rank)`` instead of ``alpha / rank``."""
    rank_pattern: Patterns
    alpha_pattern: Patterns
    targets: Callable[[str], bool]
    """Whether ``target_modules`` covers a module."""

    def rank_of(self, module: str) -> int:
        """Return the rank of ``module``; the first pattern that matches wins."""
        return int(_first_match(self.rank_pattern, module, self.rank))

    def scaling_of(self, module: str) -> float:
        """Return the factor on ``B @ A`` of ``module``."""
        rank = self.rank_of(module)
        alpha = _first_match(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def load_peft_config(path: Path) -> PeftConfig:
    """Read the config in the PEFT directory ``path``.

    Raises:
        InputError: there is none, it is damaged, or it describes something else than a
            plain LoRA adapter; the message names what.
    """
    file = path / CONFIG_NAME
    config = _load_json(file)
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"expected peft_type LORA in {file}, but got "
            f"{config.get('peft_type')!r}; only LoRA adapters are read"
        )
    _refuse_variants(config, path)
    _refuse_changed_base(config, path)
    try:
        return PeftConfig(
            base=str(config.get("base_model_name_or_path") or ""),
            rank=_positive(config.get("r"), "r"),
            alpha=_number(config.get("lora_alpha"), "lora_alpha"),
            use_rslora=_flag(config.get("use_rslora"), "use_rslora"),
            rank_pattern=_patterns(config, "rank_pattern", _positive),
            alpha_pattern=_patterns(config, "alpha_pattern", _number),
            targets=_targets(config.get("target_modules")),
        )
    except ValueError as error:
        raise InputError(
            f"{file}: {error}; restore the file that PEFT's save_pretrained wrote"
        ) from error


def _load_json(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"expected a PEFT adapter in {file.parent}, but {CONFIG_NAME} is missing; "
            "pass the directory that PEFT's save_pretrained wrote"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"expected a readable {file}, but got: {error}; copy or save it again"
        ) from error
    if not isinstance(config, dict):
        raise InputError(
            f"expected a JSON object in {file}, but got {type(config).__name__}; "
            "copy or save it again"
        )
    return config


def _refuse_variants(config: Mapping[str, Any], path: Path) -> None:
    refused = [name for key, name in _REFUSED.items() if config.get(key)]
    if config.get("bias") not in (None, "none"):
        refused.append("trained biases")
    if refused:
        raise InputError(
            f"expected a plain LoRA adapter in {path}, but it has "
            f"{', '.join(refused)}; {_WITHOUT}"
        )


def _refuse_changed_base(config: Mapping[str, Any], path: Path) -> None:
    """Refuse initialisations that subtract from the base what they put into B and A.

    Such an adapter is relative to the changed base. PEFT repeats the change when it
    loads one (LoRA-GA excepted, where the change is lost); an engine does not.
    """
    init = config.get("init_lora_weights")
    if not isinstance(init, str) or init.lower() in _HARMLESS_INITS:
        return
    remedy = "train it with init_lora_weights: true"
    if init.lower().startswith(_CONVERTIBLE_INITS):
        remedy = (
            "convert it with save_pretrained(path_initial_model_for_weight_conversion)"
        )
    raise InputError(
        f"expected an adapter of an unchanged base in {path}, but init_lora_weights: "
        f"{init} changed the base's weights; {remedy}, or {_UNCHANGED}"
    )


def _positive(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected {name} to be a positive integer, but got {value!r}")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # an integer beyond all floats
            if math.isfinite(value):
                return float(value)
    raise ValueError(f"expected {name} to be a number, but got {value!r}")


def _flag(value: object, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"expected {name} to be true or false, but got {value!r}")
    return bool(value)


def _patterns(
    config: Mapping[str, Any], name: str, check: Callable[[object, str], float]
) -> Patterns:
    """Compile PEFT's rule: a key matches a module's name, or its end after a dot."""
    values = config.get(name) or {}
    if not isinstance(values, dict):
        raise ValueError(f"expected {name} to be an object, but got {values!r}")
    return tuple(
        (_compiled(rf"(.*\.)?({key})$", name), check(value, f"{name} of {key!r}"))
        for key, value in values.items()
    )


def _compiled(pattern: str, name: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"expected {name} to hold regular expressions, but got {pattern!r} "
            f"({error})"
        ) from error


def _first_match(patterns: Patterns, module: str, default: float) -> float:
    for pattern, value in patterns:
        if pattern.match(module):
            return value
    return default


def _targets(targets: object) -> Callable[[str], bool]:
    """Return PEFT's rule: a list holds names or their ends, a string is a pattern.

    ``all-linear`` and a missing list depend on the base, so they cover every module.
    """
    if targets is None or targets == "all-linear":
        return lambda _: True
    if isinstance(targets, str):
        pattern = _compiled(targets, "target_modules")
        return lambda module: pattern.fullmatch(module) is not None
    if isinstance(targets, list) and all(isinstance(t, str) for t in targets):
        names = frozenset(targets)
        ends = tuple(f".{target}" for target in targets)
        return lambda module: module in names or module.endswith(ends)
    raise ValueError(
        f"expected target_modules to be names or a pattern, but got {targets!r}"
    )
