# ruff: noqa: E402 - the number of threads is read at import

"""What the factor algebra costs, beside the dense operators of its peers.

Run: ``python benchmarks/factors.py [--ranks 16 32 64] [--experts 3 8] [--peers]``
Everything runs on one thread. Every case runs in a process of its own, so that its peak
memory is its own; times are medians with the quartiles beside them. ``--peers`` adds
PEFT, mergekit (where installed: ``pip install --no-deps mergekit immutables``) and the
paper's dense operators, each on one module of every shape, times the shape's count.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy and torch are imported

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from dense_peers import peer_seconds
from sandbox import machine
from shapes import module_shapes, num_bytes, random_expert

from lora_qd.factors import CoreSpace, TaskVector
from lora_qd.store.adapters import adapter_bytes
from lora_qd.variation import CrossoverSettings, MutationForm, crossover, mutate

Times = list[float]
"""Seconds of every repeat."""


def timed(work: Callable[[], object], repeats: int) -> Times:
    """Return the seconds of ``repeats`` calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def shown(seconds: Times) -> str:
    """Return median and quartiles, in ms or s."""
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    if middle < 1:
        return f"{middle * 1e3:.1f} ms ({low * 1e3:.1f}-{high * 1e3:.1f})"
    return f"{middle:.2f} s ({low:.2f}-{high:.2f})"


def peak_bytes() -> int:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(
    num_layers: int, width: int, rank: int, num_experts: int, repeats: int
) -> dict[str, Times]:
    """Return what every step costs; ``peak / experts`` is a ratio, not a time."""
    torch.set_num_threads(1)
    shapes = module_shapes(num_layers, width)
    before = peak_bytes()
    experts = [random_expert(shapes, rank, seed) for seed in range(num_experts)]
    size = sum(num_bytes(expert) for expert in experts)
    start = time.perf_counter()
    space = CoreSpace.of(experts)
    members = [space.project(expert) for expert in experts]
    times = {"build the space, project all experts": [time.perf_counter() - start] * 2}
    rng = np.random.default_rng(0)

    def child() -> object:
        crossing = crossover(members[:2], rng, CrossoverSettings(sigma=0.5))
        return mutate(
            crossing.cores, members[0], rng, form=MutationForm.RELATIVE, w_max=0.3
        )

    times["child: crossover and SVD mutation"] = timed(child, repeats)
    member = members[0]
    times["materialise, exact"] = timed(lambda: space.materialise(member), repeats)
    times[f"materialise, rank {rank}"] = timed(
        lambda: space.materialise(member, rank=rank), repeats
    )
    times[f"child to file (rank {rank}, bf16)"] = timed(
        lambda: _to_file(space, child(), rank), repeats
    )
    times["peak / experts"] = [(peak_bytes() - before) / size] * 2
    exact = space.materialise(member).task_vector
    times["for comparison: copy the bytes of exact"] = timed(
        lambda: _copied(exact), repeats
    )
    return times


def _copied(task_vector: TaskVector) -> object:
    return [(u.A.copy(), u.B.copy()) for u in task_vector.values()]


def _to_file(space: CoreSpace, cores: object, rank: int) -> None:
    update = space.materialise(cores, rank=rank).task_vector  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(dir=_memory_backed()) as directory:
        Path(directory, "adapter.safetensors").write_bytes(
            adapter_bytes(update, dtype="bfloat16")
        )


def _memory_backed() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def in_own_process(*case: int) -> dict[str, Times]:
    """Run :func:`measure` in a fresh process, so that its peak is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, case)


def main() -> None:
    """Print a table of cases, the curve over layers, and the peers."""
    parser = argparse.ArgumentParser(description="cost of the factor algebra")
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--experts", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--curve", action="store_true", help="up to 70B shapes")
    options = parser.parse_args()
    print(machine(), f"torch {torch.__version__}, numpy {np.__version__}, one thread")
    for num_experts in options.experts:
        for rank in options.ranks:
            case = (32, 4096, rank, num_experts, options.repeats)
            print(f"\nLlama-3-8B, {num_experts} experts of rank {rank}", flush=True)
            _print(in_own_process(*case))
    if options.curve:
        for num_layers, width in ((8, 4096), (16, 4096), (32, 4096), (80, 8192)):
            print(f"\n{num_layers} layers of width {width}, 3 experts of rank 16")
            _print(in_own_process(num_layers, width, 16, 3, options.repeats))
    if options.peers:
        print("\nPeers on Llama-3-8B, two adapters of rank 16, each shape x its count")
        for name, seconds in peer_seconds().items():
            print(f"  {name:45} {seconds:12.1f} s", flush=True)


def _print(times: dict[str, Times]) -> None:
    for name, seconds in times.items():
        is_ratio = name.startswith("peak")
        text = f"{seconds[0]:.2f}" if is_ratio else shown(seconds)
        print(f"  {name:45} {text}", flush=True)


if __name__ == "__main__":
    main()
