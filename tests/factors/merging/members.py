"""Random members for the laws of merging, and what they are as dense deltas."""

import numpy as np
import torch

from lora_qd.factors import CoreSpace, LowRank


def members_of(seed, num=3, shape=(6, 5), modules=2):
    rng = np.random.default_rng(seed)
    return [
        {f"m{i}": rng.normal(size=shape).astype(np.float32) for i in range(modules)}
        for _ in range(num)
    ]


def experts_of(seed, ranks, shape):
    """One module, adapters of these ranks, each with a scaling of its own."""
    rng = np.random.default_rng(seed)
    return [
        LowRank(
            rng.normal(size=(shape[0], rank)),
            rng.normal(size=(rank, shape[1])),
            float(rng.uniform(0.2, 3)),
        )
        for rank in ranks
    ]


class Dense:
    """Experts as cores in float64 and as dense deltas, to compare merges of both."""

    def __init__(self, experts, dtype=torch.float64):
        vectors = [{"m": expert} for expert in experts]
        space = CoreSpace.of(vectors, dtype=dtype)
        self.basis = space.bases["m"]
        self.members = [space.project(vector) for vector in vectors]
        self.deltas = [e.scaling * e.B.astype(float) @ e.A for e in experts]

    def delta(self, core):
        return self.basis.U.astype(float) @ core @ self.basis.V.T


def random_dense(seed, num=None, dtype=torch.float64):
    """Independent experts of random ranks and shapes."""
    rng = np.random.default_rng(seed)
    num = num or int(rng.integers(1, 5))
    ranks = rng.integers(1, 5, size=num)
    shape = tuple(int(sum(ranks) + extra) for extra in rng.integers(3, 9, size=2))
    return Dense(experts_of(seed, [int(r) for r in ranks], shape), dtype)


def weights_for(seed, num):
    return [float(w) for w in np.random.default_rng(seed).uniform(0.1, 2, size=num)]


def assert_close(first, second, rtol=1e-5):
    for module in second:
        error = np.linalg.norm(first[module] - second[module])
        assert error <= rtol * np.linalg.norm(second[module]) + 1e-7, module


def assert_near(got, expected, rtol):
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= rtol * np.linalg.norm(expected) + 1e-12
