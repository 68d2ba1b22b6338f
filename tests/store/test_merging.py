"""Adapters in, adapter out: against dense sums, and every refusal."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.factors import LowRank
from lora_qd.factors.merging import METHODS
from lora_qd.store.adapters import load_adapter, save_adapter
from lora_qd.store.inspection import inspect_adapters
from lora_qd.store.merging import MergeOrder, merge_adapters

BASE = "someone/base"


def order(*weights, method="linear", **changes):
    values = {
        "rank": None,
        "is_exact": False,
        "dtype": "float32",
        "seed": 0,
        "is_forced": False,
        "parameters": {},
    }
    return MergeOrder(method=method, weights=weights, **(values | changes))


def write(path, seed, *, rank=4, shape=(30, 20), base=BASE, modules=("a.q", "a.v")):
    rng = np.random.default_rng(seed)
    update = {
        m: LowRank(
            rng.normal(size=(shape[0], rank)), rng.normal(size=(rank, shape[1])), 0.5
        )
        for m in modules
    }
    save_adapter(update, path, base=base)
    return str(path)


@pytest.fixture
def two(tmp_path):
    return [write(tmp_path / "one", 1), write(tmp_path / "two", 2, rank=3)]


def dense(path, module):
    update = load_adapter(Path(path)).task_vector[module]
    return update.scaling * update.B.astype(float) @ update.A.astype(float)


@pytest.mark.parametrize("method", ["linear", "task-arithmetic", "cat"])
def test_an_exact_merge_is_the_dense_sum(two, tmp_path, method):
    out = tmp_path / "out"
    report = merge_adapters(two, out, order(0.6, 0.4, method=method, is_exact=True))
    assert report.kept_energy == 1.0
    assert report.rank == report.exact_rank == 7
    for module in ("a.q", "a.v"):
        expected = 0.6 * dense(tmp_path / "one", module)
        expected += 0.4 * dense(tmp_path / "two", module)
        error = np.linalg.norm(dense(out, module) - expected)
        assert error <= 1e-5 * np.linalg.norm(expected)


def test_the_default_rank_is_the_largest_and_the_truncation_is_optimal(two, tmp_path):
    out = tmp_path / "out"
    report = merge_adapters(two, out, order(1.0, 1.0, method="task-arithmetic"))
    assert report.rank == 4
    energies, kept = [], []
    for module in ("a.q", "a.v"):
        full = dense(tmp_path / "one", module) + dense(tmp_path / "two", module)
        P, S, Qt = np.linalg.svd(full)
        best = (P[:, :4] * S[:4]) @ Qt[:4]
        np.testing.assert_allclose(dense(out, module), best, atol=1e-3)
        energies.append(np.sum(S**2))
        kept.append(np.sum(S[:4] ** 2))
    assert report.kept_energy == pytest.approx(sum(kept) / sum(energies), rel=1e-5)


def test_modules_that_one_lacks_are_taken_from_the_other(tmp_path):
    first = write(tmp_path / "one", 1, modules=("a.q", "a.v"))
    second = write(tmp_path / "two", 2, modules=("a.q", "a.k"))
    out = tmp_path / "out"
    report = merge_adapters([first, second], out, order(0.5, 0.5, is_exact=True))
    assert report.num_modules == 3
    np.testing.assert_allclose(
        dense(out, "a.k"), 0.5 * dense(tmp_path / "two", "a.k"), atol=1e-4
    )


def test_random_methods_are_a_function_of_the_seed(two, tmp_path):
    for name, seed in (("x", 1), ("y", 1), ("z", 2)):
        merge_adapters(two, tmp_path / name, order(1, 1, method="dare", seed=seed))
    weights = [
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "xyz"
    ]
    assert weights[0] == weights[1] != weights[2]


def test_a_merge_imports_no_transformers_and_no_peft(two, tmp_path):
    code = (
        "import sys; from lora_qd.cli.main import main\n"
        f"sys.argv = ['loraqd', 'merge', *{two!r}, '--out', {str(tmp_path / 'o')!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'transformers', 'peft', 'vllm', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_hub_ids_are_merged_with_local_adapters(hub, two, tmp_path):
    files = {f.name: f.read_bytes() for f in (tmp_path / "two").iterdir()}
    hub.add("someone/adapter", files)
    out = tmp_path / "out"
    report = merge_adapters([two[0], "someone/adapter"], out, order(0.5, 0.5))
    assert [a.rank for a in report.inspection.adapters] == [4, 3]


def test_different_bases_are_merged_only_by_force(tmp_path):
    paths = [
        write(tmp_path / "one", 1, base="someone/base"),
        write(tmp_path / "two", 2, base="mirror/base"),
    ]
    with pytest.raises(InputError, match=r"one base.*mirror/base.*--force"):
        merge_adapters(paths, tmp_path / "out", order(1, 1))
    report = merge_adapters(paths, tmp_path / "out", order(1, 1, is_forced=True))
    assert report.base == "someone/base"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": (1.0,)}, "one weight per adapter, but got 2 adapters and 1"),
        ({"weights": (1.0, float("nan"))}, "finite weights"),
        ({"weights": (1.0, -1.0)}, "do not sum to zero"),
        ({"method": "tie"}, "method out of linear"),
        ({"parameters": {"density": 0.5}}, "linear takes"),
        ({"method": "ties", "parameters": {"density": 7}}, r"density in \(0, 1\]"),
        ({"rank": 0}, r"rank in \[1, 7\], but got 0"),
        ({"rank": 8}, r"rank in \[1, 7\], but got 8"),
        ({"dtype": "int8"}, "dtype out of bfloat16"),
    ],
)
def test_a_wrong_order_is_refused_and_nothing_written(two, tmp_path, change, message):
    weights = change.pop("weights", (1.0, 1.0))
    with pytest.raises(InputError, match=message):
        merge_adapters(two, tmp_path / "out", order(*weights, **change))
    assert not (tmp_path / "out").exists()


def test_an_existing_out_is_refused(two, tmp_path):
    with pytest.raises(InputError, match="not to exist"):
        merge_adapters(two, tmp_path / "one", order(1, 1))


def test_disjoint_modules_are_refused_with_one_of_each(tmp_path):
    paths = [
        write(tmp_path / "one", 1, modules=("a.q",)),
        write(tmp_path / "two", 2, modules=("b.k",)),
    ]
    with pytest.raises(InputError, match=r"share modules, but .*'a\.q'.*'b\.k'"):
        merge_adapters(paths, tmp_path / "out", order(1, 1))


def test_clashing_shapes_are_named_with_their_module(tmp_path):
    paths = [write(tmp_path / "one", 1), write(tmp_path / "two", 2, shape=(31, 20))]
    with pytest.raises(InputError, match=r"'a\.q'.*\(30, 20\).*\(31, 20\)"):
        merge_adapters(paths, tmp_path / "out", order(1, 1))


def test_a_value_too_large_for_the_dtype_is_refused(tmp_path):
    save_adapter(
        {"q": LowRank(np.full((3, 1), 1e4), np.full((1, 3), 1e4))},
        tmp_path / "big",
        base=BASE,
    )
    with pytest.raises(InputError, match=r"'q'.*fit float16"):
        merge_adapters(
            [str(tmp_path / "big")],
            tmp_path / "out",
            order(1e4, method="cat", dtype="float16"),
        )
    assert not (tmp_path / "out").exists()


def test_a_missing_hub_is_an_error_of_the_store(two, tmp_path):
    with pytest.raises(StoreError, match="HF_HUB_OFFLINE is set"):
        merge_adapters([two[0], "no/body"], tmp_path / "out", order(1, 1))


def test_an_inspection_measures_every_adapter_and_every_pair(two, tmp_path):
    inspection = inspect_adapters([*two, two[0]])
    assert [a.rank for a in inspection.adapters] == [4, 3, 4]
    norms = [
        np.sqrt(sum(np.sum(dense(path, m) ** 2) for m in ("a.q", "a.v")))
        for path in two
    ]
    assert [a.norm for a in inspection.adapters][:2] == pytest.approx(norms, rel=1e-5)
    places = [(pair.first, pair.second) for pair in inspection.pairs]
    assert places == [(0, 1), (0, 2), (1, 2)]
    cosines = [pair.similarity.cosine for pair in inspection.pairs]
    assert len(cosines) == 3
    assert cosines[1] == pytest.approx(1.0, abs=1e-5)  # the first and its copy


def test_the_inspection_as_json_is_json(two):
    done = run_command("inspect", *two, "--json")
    report = json.loads(done.stdout)
    assert report["adapters"][0]["rank"] == 4
    assert report["pairs"][0]["similarity"]["cosine"] < 1


def test_the_command_merges_shows_and_says_what_is_next(two, tmp_path):
    out = str(tmp_path / "out")
    options = ["--weights", "0.6,0.4", "--method", "ties", "--density", "0.4"]
    done = run_command("merge", *two, *options, "--out", out)
    assert "ties, density 0.4, rank 4:" in done.stdout
    assert f"Wrote {out} (bfloat16)" in done.stdout
    assert load_adapter(tmp_path / "out").rank == 4
    assert f"{load_adapter(tmp_path / 'out').base}" == BASE


def test_the_help_names_every_method():
    from lora_qd.cli.main import METHODS_HELP

    named = METHODS_HELP.rstrip(".").replace(" or ", ", ").split(", ")
    assert named == list(METHODS)


def run_command(*arguments):
    code = "import sys; from lora_qd.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
