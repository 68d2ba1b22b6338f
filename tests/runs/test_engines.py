"""How many servers, and on which accelerators."""

import pytest

from lora_qd.cli.evolving import Where
from lora_qd.errors import InputError
from lora_qd.runs.continuing import require_same_search
from lora_qd.runs.engines import share_devices
from lora_qd.store.run_directory import RunDirectory
from tests.runs import synthetic


@pytest.mark.parametrize(
    ("visible", "servers", "gpus", "shares"),
    [
        ([], None, 1, [()]),
        ([], 3, 1, [(), (), ()]),
        (["0"], None, 1, [()]),
        (["2", "5"], None, 1, [("2",), ("5",)]),
        (["0", "1", "2", "3"], None, 2, [("0", "1"), ("2", "3")]),
        (["0", "1", "2", "3"], 1, 2, [("0", "1")]),
        (["0", "1"], 1, 1, [("0",)]),
    ],
)
def test_accelerators_are_shared_out(visible, servers, gpus, shares):
    assert share_devices(visible, servers=servers, gpus_per_server=gpus) == shares


@pytest.mark.parametrize(("servers", "gpus"), [(3, 1), (1, 4), (None, 3)])
def test_too_few_accelerators_are_refused(servers, gpus):
    with pytest.raises(InputError, match="accelerators for .* servers .*there are 2"):
        share_devices(["0", "1"], servers=servers, gpus_per_server=gpus)


def test_the_command_line_names_other_engines(tmp_path):
    config = synthetic.config(tmp_path)
    moved = Where("ray", "10.0.0.1:6379").moved(config)
    assert (moved.engine.kind, moved.engine.address) == ("ray", "10.0.0.1:6379")
    assert Where("ray").moved(config).engine.address == "auto"
    assert Where().moved(moved) == moved
    assert Where("vllm").moved(moved).engine.kind == "vllm"


@pytest.mark.parametrize(
    ("kind", "address", "message"),
    [
        (None, "auto", "expected --engine ray with --address auto, but got none"),
        ("vllm", "auto", "expected --engine ray with --address auto, but got vllm"),
        ("dask", None, "engine.kind: .*'vllm', 'transformers' or 'ray'"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(tmp_path, kind, address, message):
    with pytest.raises(InputError, match=message):
        Where(kind, address).moved(synthetic.config(tmp_path))


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            {"kind": "ray", "urls": ["http://x"]},
            "urls are vLLM servers, but kind is 'r",
        ),
        ({"kind": "transformers", "quantization": "fp8"}, "none or nf4, not 'fp8'"),
    ],
)
def test_a_kind_that_contradicts_the_rest_is_refused(tmp_path, engine, message):
    with pytest.raises(ValueError, match=message):
        synthetic.config(tmp_path, engine=engine)


def test_a_run_may_move_between_vllm_and_ray_only(tmp_path):
    begun = synthetic.config(tmp_path)
    synthetic.run(begun)
    run = RunDirectory(begun.run)
    require_same_search(run, begun, Where("ray").moved(begun))
    with pytest.raises(InputError, match="engine.kind: 'transformers' instead of 'vll"):
        require_same_search(run, begun, Where("transformers").moved(begun))
