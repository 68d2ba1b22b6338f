"""Laws of the measures, against dense float64."""

import numpy as np
import pytest

from lora_qd.factors import CoreSpace, LowRank
from lora_qd.factors.similarity import (
    cosines,
    similarities,
    similarity,
    spectrum,
)


def experts_of(seed, *, ranks=(4, 3), shape=(30, 20), modules=2):
    rng = np.random.default_rng(seed)
    return [
        {
            f"m{i}": LowRank(
                rng.normal(size=(shape[0], r)), rng.normal(size=(r, shape[1])), 0.7
            )
            for i in range(modules)
        }
        for r in ranks
    ]


def members_of(experts):
    space = CoreSpace.of(experts)
    return [space.project(expert) for expert in experts]


def dense(update):
    return update.scaling * update.B @ update.A


def test_the_spectrum_is_that_of_the_dense_deltas():
    experts = experts_of(0)
    for expert, member in zip(experts, members_of(experts), strict=True):
        measured = spectrum(member)
        for module, update in expert.items():
            S = np.linalg.svd(dense(update), compute_uv=False)
            got = measured.by_module[module]
            np.testing.assert_allclose(got[: update.rank], S[: update.rank], rtol=1e-4)
            assert np.count_nonzero(got) == update.rank
            assert measured.norms[module] == pytest.approx(np.linalg.norm(S), rel=1e-5)
        assert measured.rank == expert["m0"].rank
        whole = np.sqrt(sum(np.sum(dense(u) ** 2) for u in expert.values()))
        assert measured.norm == pytest.approx(whole, rel=1e-5)


def test_the_effective_rank_of_a_flat_spectrum_is_its_rank():
    core = np.diag([2.0, 2.0, 2.0, 0.0, 0.0]).astype(np.float32)
    assert spectrum({"m": core}).effective_rank == pytest.approx(3.0)
    steep = np.diag([1.0, 1e-3, 1e-3, 0.0, 0.0]).astype(np.float32)
    assert 1.0 < spectrum({"m": steep}).effective_rank < 1.1


def test_the_measures_are_those_of_the_dense_deltas():
    experts = experts_of(1)
    first, second = members_of(experts)
    result = similarity(first, second, directions=2)
    deltas = [[dense(e[m]) for m in e] for e in experts]
    flat = [np.concatenate([d.ravel() for d in ds]) for ds in deltas]
    cosine = flat[0] @ flat[1] / np.prod([np.linalg.norm(f) for f in flat])
    assert result.cosine == pytest.approx(cosine, abs=1e-5)
    out, in_, values = [], [], []
    for one, other in zip(*deltas, strict=True):
        (P1, S1, Q1), (P2, S2, Q2) = np.linalg.svd(one), np.linalg.svd(other)
        out.append(np.sum((P1[:, :2].T @ P2[:, :2]) ** 2) / 2)
        in_.append(np.sum((Q1[:2] @ Q2[:2].T) ** 2) / 2)
        values.append(S1 @ S2 / np.linalg.norm(S1) / np.linalg.norm(S2))
    assert result.output_subspace == pytest.approx(np.mean(out), abs=1e-4)
    assert result.input_subspace == pytest.approx(np.mean(in_), abs=1e-4)
    assert result.spectral == pytest.approx(np.mean(values), abs=1e-4)


def test_a_member_is_like_itself_in_every_way():
    member = members_of(experts_of(2))[0]
    result = similarity(member, member)
    for value in (
        result.cosine,
        result.output_subspace,
        result.input_subspace,
        result.spectral,
    ):
        assert value == pytest.approx(1.0, abs=1e-5)


def test_the_opposite_spans_the_same_but_points_the_other_way():
    member = members_of(experts_of(3))[0]
    result = similarity(member, {m: -core for m, core in member.items()})
    assert result.cosine == pytest.approx(-1.0)
    assert result.output_subspace == pytest.approx(1.0, abs=1e-5)


def test_similarity_is_symmetric():
    first, second = members_of(experts_of(4))
    one, other = similarity(first, second), similarity(second, first)
    assert one.cosine == pytest.approx(other.cosine)
    assert one.output_subspace == pytest.approx(other.output_subspace, abs=1e-5)


def test_a_module_that_one_lacks_counts_as_a_zero_delta():
    first, second = experts_of(5)
    del second["m1"]
    one, other = members_of([first, second])
    assert cosines(one, other)["m1"] == 0.0
    assert np.isfinite(similarity(one, other).output_subspace)


def test_nothing_in_common_is_zero():
    first = {"m": np.diag([1.0, 0.0]).astype(np.float32)}
    second = {"m": np.diag([0.0, 1.0]).astype(np.float32)}
    result = similarity(first, second)
    assert result.cosine == 0.0
    assert result.output_subspace == pytest.approx(0.0, abs=1e-9)
    assert result.spectral == pytest.approx(1.0)


def test_no_directions_are_refused():
    member = members_of(experts_of(6))[0]
    with pytest.raises(ValueError, match="at least 1 direction"):
        similarity(member, member, directions=0)


def test_many_members_are_compared_two_by_two():
    members = members_of(experts_of(7, ranks=(4, 3, 2)))
    pairs = similarities(members, directions=2)
    assert list(pairs) == [(0, 1), (0, 2), (1, 2)]
    for (i, j), result in pairs.items():
        assert result == similarity(members[i], members[j], directions=2)
    assert similarities(members[:1]) == similarities([]) == {}


@pytest.mark.parametrize("measure", [cosines, similarity])
def test_members_of_different_spaces_are_refused(measure):
    first = {"m": np.eye(3, dtype=np.float32)}
    with pytest.raises(ValueError, match=r"'m' has cores \(3, 3\) and \(2, 2\)"):
        measure(first, {"m": np.eye(2, dtype=np.float32)})
    with pytest.raises(ValueError, match="only one of members 1 and 2 has 'm'"):
        measure(first, {"n": np.eye(3, dtype=np.float32)})


def test_no_measure_of_a_member_against_itself_exceeds_one():
    for seed in range(8, 14):
        (member,) = members_of(experts_of(seed, ranks=(4,)))
        result = similarity(member, member)
        assert result.cosine <= 1.0
        assert max(result.output_subspace, result.input_subspace) <= 1.0
        assert result.spectral <= 1.0
