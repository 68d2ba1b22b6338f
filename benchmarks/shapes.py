"""Adapters of random numbers with the shapes of real models."""

import numpy as np

from lora_qd.factors import LowRank, TaskVector

MODULES_BY_WIDTH = {  # (d_out, d_in) of one layer's linear modules
    4096: {
        "self_attn.q_proj": (4096, 4096),
        "self_attn.k_proj": (1024, 4096),
        "self_attn.v_proj": (1024, 4096),
        "self_attn.o_proj": (4096, 4096),
        "mlp.gate_proj": (14336, 4096),
        "mlp.up_proj": (14336, 4096),
        "mlp.down_proj": (4096, 14336),
    },
    8192: {
        "self_attn.q_proj": (8192, 8192),
        "self_attn.k_proj": (1024, 8192),
        "self_attn.v_proj": (1024, 8192),
        "self_attn.o_proj": (8192, 8192),
        "mlp.gate_proj": (28672, 8192),
        "mlp.up_proj": (28672, 8192),
        "mlp.down_proj": (8192, 28672),
    },
}
"""Llama-3-8B has 32 layers of width 4096, Llama-3-70B 80 of width 8192."""


def module_shapes(num_layers: int, width: int = 4096) -> dict[str, tuple[int, int]]:
    """Return ``(d_out, d_in)`` by module name."""
    return {
        f"model.layers.{layer}.{name}": shape
        for layer in range(num_layers)
        for name, shape in MODULES_BY_WIDTH[width].items()
    }


def random_expert(
    shapes: dict[str, tuple[int, int]], rank: int, seed: int
) -> TaskVector:
    """Return a task vector of normal factors."""
    rng = np.random.default_rng(seed)
    return {
        module: LowRank(
            rng.standard_normal((d_out, rank), dtype=np.float32) / 64,
            rng.standard_normal((rank, d_in), dtype=np.float32) / 64,
        )
        for module, (d_out, d_in) in shapes.items()
    }


def num_bytes(task_vector: TaskVector) -> int:
    """Return the size of the factors in memory."""
    return sum(update.A.nbytes + update.B.nbytes for update in task_vector.values())
