"""How many servers, and on which accelerators."""

import pytest

from lora_qd.errors import InputError
from lora_qd.runs.engines import share_devices


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
