"""A base model and its adapters in this process: transformers and PEFT, blocking.

Not done here: batches, threads. The model's generation_config decides which
tokens end a turn, and nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lora_qd.engines.adapter_check import check_finite
from lora_qd.engines.quantization import check_checkpoint, nf4_config
from lora_qd.errors import EngineError, InputError, MissingExtraError


class LocalModel:
    """Predicts the next token as the base or as an adapter that was loaded."""

    def __init__(
        self, model: str, *, dtype: str, quantization: Literal["none", "nf4"]
    ) -> None:
        """Load a base: a directory, or a Hub id that is in the local cache.

        Raises:
            InputError: there is no such model.
            MissingExtraError: transformers, peft or bitsandbytes is not installed.
        """
        check_checkpoint(model, quantization)
        self._name = model
        self._base = load_base(model, dtype, quantization)
        self._peft: Any = None
        """The base again, wrapped by PEFT while there are adapters."""
        self._adapters: list[str] = []

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a turn by the model's generation_config."""
        return end_tokens_of(self._base)

    def load(self, name: str, path: Path) -> None:
        """Load the PEFT directory ``path``; its files are not needed afterwards.

        Raises:
            EngineError: it cannot be applied to this base in full.
        """
        from safetensors.torch import load_file

        tensors = load_file(path / "adapter_model.safetensors")
        check_finite(tensors, name)
        try:
            left_out = set(tensors) - self._load(name, path)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:500]
            self.unload(name)
            raise EngineError(
                f"expected PEFT to load adapter {name}, but got: {reason}; use an "
                f"adapter of {self._name}"
            ) from error
        if left_out:
            self.unload(name)
            raise EngineError(
                f"expected modules of {self._name}, but adapter {name} has "
                f"{min(left_out)}, which PEFT leaves out; use an adapter of this base"
            )

    def unload(self, name: str) -> None:
        """Drop an adapter; without adapters the base is as it was loaded."""
        if name not in self._adapters:  # it failed before the model was touched
            return
        self._adapters.remove(name)
        if self._adapters:
            self._peft.set_adapter(self._adapters[0])  # deleting the active one warns
            self._peft.delete_adapter(name)
        else:
            self._peft.unload()
            self._peft = None

    def tokens(
        self,
        name: str | None,
        prompt: tuple[int, ...],
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[int]:
        """Yield the next token, and so on; without end.

        Nobody else may use the model before the iterator is done or dropped.

        Args:
            name: the adapter; None is the bare base.
            prompt: token ids.
            temperature: of sampling; 0 takes the likeliest token.
            seed: of sampling.
        """
        import torch

        draws = torch.Generator().manual_seed(seed)
        fed, cache = prompt, None
        while True:
            with self._as(name), torch.inference_mode():
                output = self._forward(fed, past_key_values=cache, use_cache=True)
            token = choice(output.logits[0, -1], temperature, draws)
            yield token
            fed, cache = (token,), output.past_key_values

    def likeliest(
        self, name: str | None, prompt: tuple[int, ...], count: int
    ) -> dict[int, float]:
        """Return the log-probabilities of the ``count`` likeliest next tokens."""
        import torch

        with self._as(name), torch.inference_mode():
            logits = self._forward(prompt).logits[0, -1]
        top = torch.log_softmax(logits.float(), dim=-1).topk(count)
        return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def likelihood(
        self, name: str | None, tokens: tuple[int, ...], num_context: int
    ) -> tuple[float, bool]:
        """Return the log-likelihood of all but the first ``num_context`` tokens.

        And whether each of them is the likeliest at its place.
        """
        import torch

        num = len(tokens) - num_context
        with self._as(name), torch.inference_mode():
            logits = self._forward(tokens, logits_to_keep=num + 1).logits[0, :-1]
        logs = torch.log_softmax(logits.float(), dim=-1)
        wanted = torch.tensor(tokens[num_context:], device=logs.device)
        own = logs[torch.arange(num), wanted]
        return float(own.sum()), bool((own == logs.max(dim=-1).values).all())

    def _forward(
        self, tokens: tuple[int, ...], *, logits_to_keep: int = 1, **options: object
    ) -> Any:  # noqa: ANN401 - not typed
        import torch

        ids = torch.tensor([tokens], device=self._base.device)
        return self._base(input_ids=ids, logits_to_keep=logits_to_keep, **options)

    @contextmanager
    def _as(self, name: str | None) -> Iterator[None]:
        """Answer as the adapter ``name``, or as the bare base, for the block."""
        if name is not None:
            self._peft.set_adapter(name)
            yield
        elif self._peft is not None:
            with self._peft.disable_adapter():
                yield
        else:
            yield

    def _load(self, name: str, path: Path) -> set[str]:
        """Return the names of the tensors that the model took."""
        from peft import PeftConfig, PeftModel, get_peft_model_state_dict

        config = PeftConfig.from_pretrained(path)
        config.inference_mode = True
        if self._peft is None:
            self._peft = PeftModel(self._base, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
        self._adapters.append(name)
        self._peft.load_adapter(path, adapter_name=name)
        return set(get_peft_model_state_dict(self._peft, adapter_name=name))


def end_tokens_of(base: Any) -> frozenset[int]:  # noqa: ANN401 - transformers
    """Return the tokens that end a turn by a base's generation_config."""
    tokens = base.generation_config.eos_token_id
    if tokens is None:
        return frozenset()
    return frozenset([tokens] if isinstance(tokens, int) else tokens)


def choice(logits: Any, temperature: float, draws: Any) -> int:  # noqa: ANN401 - torch
    """Return the likeliest token, or one drawn from ``draws`` at a temperature."""
    import torch

    if not temperature:
        return int(logits.argmax())
    weights = torch.softmax(logits.double().cpu() / temperature, dim=-1)
    return int(torch.multinomial(weights, 1, generator=draws))


def load_base(model: str, dtype: str, quantization: str) -> Any:  # noqa: ANN401 - not typed
    """Return a base that is ready to answer.

    Raises:
        InputError: there is no such model.
        MissingExtraError: transformers, peft or bitsandbytes is not installed.
    """
    try:
        import peft  # noqa: F401 - said now, not when the first adapter comes
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("the transformers engine", "train") from error

    device = "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if quantization == "nf4":
        options |= {"quantization_config": nf4_config(dtype), "device_map": device}
    try:
        base = AutoModelForCausalLM.from_pretrained(model, **options)
    except ImportError as error:
        raise MissingExtraError("an nf4 base", "train") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a causal language model in {model}, but got: "
            f"{str(error).splitlines()[0]}; use a directory that save_pretrained "
            "wrote, or a Hub id"
        ) from error
    return base.eval() if quantization == "nf4" else base.to(device).eval()
