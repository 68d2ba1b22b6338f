"""The chance that one of k completions is right."""

import math


def pass_at_k(num: int, num_right: int, k: int) -> float:
    """Return the unbiased estimate of pass@k (Chen et al. 2021, eq. 1), in [0, 1].

    Args:
        num: completions that were scored.
        num_right: those among them that are right.
        k: completions that a user would look at.

    Raises:
        ValueError: not ``0 <= num_right <= num`` and ``1 <= k <= num``.
    """
    if not (0 <= num_right <= num and 1 <= k <= num):
        raise ValueError(
            f"expected 0 <= num_right <= num and 1 <= k <= num, but got num {num}, "
            f"num_right {num_right} and k {k}"
        )
    return 1.0 - math.comb(num - num_right, k) / math.comb(num, k)
