"""Whether a run may go on: what of a config may change in it, and what may not.

Scores are comparable, and children the same, only while everything that they depend on
is the same: that is fixed by the run's first config and by hashes. How fast and how
long it searches may change.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lora_qd.errors import InputError
from lora_qd.runs.config import RunConfig
from lora_qd.runs.recorded import read_config
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory

_MAY_CHANGE = (
    "search.children",
    "finalists",
    "sandbox_workers",
    "systems",
    "engine",
    # Where things lie and how experts were made: their hashes say what they are.
    "base",
    "run",
    "experts_dir",
    "experts",
    "training",
    "allow_other_quantization",
    "report_to",
)
_MAY_NOT_CHANGE = (  # all the same: they decide what an answer is
    "engine.serve_rank",
    "engine.dtype",
    "engine.quantization",
    "engine.max_model_len",
)


def recorded_config(run: RunDirectory) -> RunConfig | None:
    """Return the config that a run last went on with; None where it never began.

    Raises:
        StoreError: its ledger is damaged or newer.
    """
    with Ledger(run.ledger) as ledger:
        return read_config(ledger, run)


def is_finished(run: RunDirectory, config: RunConfig) -> bool:
    """Tell whether the run has bred what ``config`` asks for, and has its results."""
    with Ledger(run.ledger) as ledger:
        num_bred = ledger.num_children - config.num_seeds
    return run.results.is_file() and num_bred >= config.search.children


def require_same_search(run: RunDirectory, old: RunConfig, new: RunConfig) -> None:
    """Refuse a config that makes another search of a run.

    Raises:
        InputError: naming every value that differs, in one line.
    """
    differences = list(_differences(fixed_values(old), fixed_values(new)))
    if differences:
        raise InputError(
            f"expected the config that {run.path} began with, but got "
            f"{'; '.join(differences)}; choose another directory with --run, or "
            "replace the run with --overwrite"
        )
    with Ledger(run.ledger) as ledger:
        num_bred = max(0, ledger.num_children - new.num_seeds)
    if new.search.children < num_bred:
        raise InputError(
            f"expected search.children of at least {num_bred}, which {run.path} has "
            f"already, but got {new.search.children}; nothing is taken away from a run"
        )


def require_same(
    kind: str, recorded: Mapping[str, str] | str, current: Mapping[str, str] | str
) -> None:
    """Refuse a base, experts or samples that are not those of the run.

    Args:
        kind: the manifest's entry: ``base``, ``experts`` or ``splits``.
        recorded: its hash, or hashes by name.
        current: the same of what is there now.

    Raises:
        InputError: naming the first that differs.
    """
    before, now = _named(recorded), _named(current)
    for name, value in before.items():
        if now.get(name) != value:
            raise InputError(
                f"expected the {_KINDS[kind]}{name} that the run began with "
                f"({value[:12]}), but got {str(now.get(name))[:12]}; restore what it "
                "was, or start another run with loraqd evolve --run"
            )


_KINDS = {"base": "base", "experts": "expert of ", "splits": "samples of "}


def _named(entry: Mapping[str, str] | str) -> Mapping[str, str]:
    return {"": entry} if isinstance(entry, str) else entry


def fixed_values(config: RunConfig) -> dict[str, Any]:
    """Return what may not change in a run, by dotted key."""
    fixed = {key: v for key, v in flat_values(config).items() if not _may_change(key)}
    # Another library rounds otherwise; where vLLM runs makes no difference.
    is_local = config.engine.kind == "transformers"
    return fixed | {"engine.kind": "transformers" if is_local else "vllm or ray"}


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{key}: {new.get(key)!r} instead of {old.get(key)!r}"


def _may_change(key: str) -> bool:
    def is_below(keys: tuple[str, ...]) -> bool:
        return any(key == k or key.startswith(f"{k}.") for k in keys)

    return is_below(_MAY_CHANGE) and not is_below(_MAY_NOT_CHANGE)


def flat_values(config: RunConfig) -> dict[str, Any]:
    """Return the values of a config by their dotted keys."""
    flat: dict[str, Any] = {}
    waiting = [("", config.model_dump(mode="json"))]
    while waiting:
        prefix, values = waiting.pop()
        for key, value in values.items():
            if isinstance(value, dict):
                waiting.append((f"{prefix}{key}.", value))
            else:
                flat[f"{prefix}{key}"] = value
    return flat
