"""Low-rank algebra: updates as factors, task vectors, the shared core space.

Takes and returns arrays; knows no file, engine, task, clock or global generator.
No dense ``d_out x d_in`` matrix is ever formed here.
"""

from lora_qd.factors.basis import Basis
from lora_qd.factors.core_space import CoreSpace, Materialised
from lora_qd.factors.cores import (
    Svd,
    content_hash,
    norm,
    scaled,
    svd,
    svds,
    weighted_sum,
)
from lora_qd.factors.low_rank import LowRank, Matrix, TaskVector

__all__ = [
    "Basis",
    "CoreSpace",
    "LowRank",
    "Materialised",
    "Matrix",
    "Svd",
    "TaskVector",
    "content_hash",
    "norm",
    "scaled",
    "svd",
    "svds",
    "weighted_sum",
]
