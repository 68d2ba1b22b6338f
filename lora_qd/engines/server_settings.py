"""How a vLLM server is started: its command line and its environment, no effects."""

import math
import os
import site
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lora_qd.engines.quantization import (
    Quantization,
    check_checkpoint,
    checkpoint_method,
)

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
BASE_NAME = "base"
"""The model name under which the server answers as the bare base."""
_CPU_LORA = "lora_qd.engines.cpu_lora.WorkerExtension"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What a ``VllmServer`` serves and how."""

    model: str
    """The base model: a directory, or a Hub id."""
    lora_target_modules: tuple[str, ...]
    """The evolved modules only, by their last name, such as ``q_proj``."""
    max_lora_rank: int = 16
    """Largest rank of an adapter; vLLM pads to the next of ``VLLM_RANKS``."""
    max_loras: int = 4
    """Most adapters in one batch."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of base and adapters."""
    quantization: Quantization = "none"
    """How the base is quantised; the checkpoint must agree."""
    max_model_len: int = 2048
    """Most tokens of prompt and answer together."""
    max_num_seqs: int = 256
    """Most sequences decoded at once."""
    max_num_batched_tokens: int = 2048
    """Most tokens of one engine step."""
    kv_cache_gib: float = 1.0
    """Memory for keys and values on CPU, in GiB, rounded up to whole ones."""
    num_threads: int | None = None
    """Threads of the engine on CPU; by default one per core but one."""
    start_timeout_s: float = 600.0
    """Seconds until a silent start counts as failed."""
    request_timeout_s: float = 600.0
    """Seconds until a silent request counts as lost, and the server with it."""
    recycle_after: int = 2000
    """Adapters after which the server is started anew: vLLM does not give back all of
    an adapter's memory."""
    devices: tuple[str, ...] = ()
    """The accelerators that it may use, as CUDA_VISIBLE_DEVICES names them; more than
    one share the base's weights (tensor parallelism). Empty: as this process sees."""
    lora_modules: Mapping[str, Path] = field(default_factory=dict)
    """Adapters to serve from the start, by model name."""
    address: tuple[str, int] | None = None
    """Host and port; by default a Unix socket in a private directory."""
    guard: str | None = None
    """Import path of the ASGI middleware through which every request passes first;
    without one a server on a port loads no adapters at run time."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment, for the guard and plug-ins; where secrets go."""
    prefix_caching: bool = False
    """Whether the keys and values of a prompt's beginning are kept for the next."""
    extra_arguments: tuple[str, ...] = ()
    """Passed on to vLLM."""

    def __post_init__(self) -> None:
        """Check what vLLM would refuse late or silently.

        Raises:
            ValueError: a value cannot work, alone or with this checkpoint.
        """
        if not self.lora_target_modules:
            raise ValueError("expected lora_target_modules to name modules, got none")
        if not 1 <= self.max_lora_rank <= VLLM_RANKS[-1]:
            raise ValueError(
                f"expected max_lora_rank in [1, {VLLM_RANKS[-1]}], but got "
                f"{self.max_lora_rank}; truncate to a smaller rank"
            )
        if self.quantization != "none" and self.dtype == "float32":
            raise ValueError(
                f"expected a 16-bit dtype with quantization={self.quantization!r}, but "
                "got 'float32'; use 'bfloat16'"
            )
        check_checkpoint(self.model, self.quantization)

    @property
    def served_rank(self) -> int:
        """The rank that vLLM reserves and computes: the next of ``VLLM_RANKS``."""
        return min(rank for rank in VLLM_RANKS if rank >= self.max_lora_rank)

    def command(self, socket: Path, *, is_cpu: bool) -> list[str]:
        """Return the command that serves on ``address``, or else on ``socket``."""
        options: dict[str, object] = {
            "model": self.model,
            "served-model-name": BASE_NAME,
            "dtype": self.dtype,
            "max-model-len": self.max_model_len,
            "max-num-seqs": self.max_num_seqs,
            # vLLM refuses a step too small for one token of each sequence.
            "max-num-batched-tokens": max(
                self.max_num_batched_tokens, self.max_num_seqs
            ),
            "max-loras": self.max_loras,
            "max-cpu-loras": self.max_loras,
            "max-lora-rank": self.served_rank,
        }
        flags = [
            "--enable-lora",
            "--disable-log-stats",
            "--disable-uvicorn-access-log",
        ]
        # Kept by the adapter's name and path; the prompts of a search are short.
        is_kept = "" if self.prefix_caching else "no-"
        flags.append(f"--{is_kept}enable-prefix-caching")
        if self.guard:
            options["middleware"] = self.guard
        options |= self._quantizing()
        if is_cpu:
            flags.append("--enforce-eager")
            options["worker-extension-cls"] = _CPU_LORA
        if len(self.devices) > 1:
            options["tensor-parallel-size"] = len(self.devices)
        if self.address is None:
            options["uds"] = socket
        else:
            options |= dict(zip(("host", "port"), self.address, strict=True))
        server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        lists = [*self._modules(), *self.extra_arguments]
        return [*server, *_named(options), *flags, *lists]

    def plain_command(self) -> list[str]:
        """Return the command by which anybody serves this without loraqd."""
        options: dict[str, object] = {
            "dtype": self.dtype,
            "max-model-len": self.max_model_len,
            "max-loras": self.max_loras,
            "max-lora-rank": self.served_rank,
            **self._quantizing(),
        }
        if len(self.devices) > 1:
            options["tensor-parallel-size"] = len(self.devices)
        server = ["vllm", "serve", self.model, "--enable-lora"]
        return [*server, *_named(options), *self._modules(), *self.extra_arguments]

    def _modules(self) -> list[str]:
        modules = ["--lora-target-modules", *self.lora_target_modules]
        if self.lora_modules:
            modules.append("--lora-modules")
            modules += [f"{name}={path}" for name, path in self.lora_modules.items()]
        return modules

    def _quantizing(self) -> dict[str, object]:
        """Return how vLLM quantises the base while it loads it.

        A checkpoint that is quantised names its method itself; vLLM then takes the
        fastest kernel that it has for it.
        """
        if self.quantization == "nf4":
            return {"quantization": "bitsandbytes", "load-format": "bitsandbytes"}
        if self.quantization == "fp8" and not checkpoint_method(self.model):
            return {"quantization": "fp8"}
        return {}

    def environment(self, *, is_cpu: bool) -> dict[str, str]:
        """Return the variables that the server needs on top of ours."""
        variables = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        # Whoever reaches its routes may make it read any path.
        if self.address is None or self.guard:
            variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        variables |= self.variables
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices)
        if Path(self.model).is_dir():
            variables["HF_HUB_OFFLINE"] = "1"
        if is_cpu:
            num_threads = self.num_threads or max(1, (os.cpu_count() or 2) - 1)
            variables |= {
                "VLLM_TARGET_DEVICE": "cpu",
                "VLLM_CPU_KVCACHE_SPACE": str(math.ceil(self.kv_cache_gib)),
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "OMP_NUM_THREADS": str(num_threads),
                # Else the first log-probability costs half a minute and a compiler.
                "TORCH_COMPILE_DISABLE": "1",
                # The worker then lives in the engine's process: one process less to
                # start, and no shared-memory queue that spins on the second core.
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            }
        root = str(Path(__file__).resolve().parents[2])
        if root not in site.getsitepackages():  # a checkout: the worker imports us
            paths = [root, os.environ.get("PYTHONPATH", "")]
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return variables


def _named(options: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]
