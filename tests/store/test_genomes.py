"""Genomes lie under the hash of their content, and are checked when they are read."""

import numpy as np
import pytest

from lora_qd.errors import StoreError
from lora_qd.factors import CoreSpace, LowRank, content_hash
from lora_qd.store.genomes import load_genome, load_space, save_genome, save_space
from lora_qd.store.run_directory import RunDirectory

CORES = {
    "a.q_proj": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.v_proj": np.full((1, 2), 0.1, dtype=np.float32),
}


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path)
    run.members.mkdir()
    return run


def test_a_genome_is_named_by_its_content_and_reads_back(run):
    genome = save_genome(CORES, run)
    assert genome == content_hash(CORES)
    assert [path.name for path in run.members.iterdir()] == [f"{genome}.safetensors"]
    loaded = load_genome(run.genome(genome))
    assert loaded.keys() == CORES.keys()
    for module, core in CORES.items():
        np.testing.assert_array_equal(loaded[module], core)


def test_any_flipped_bit_is_noticed(run):
    path = run.genome(save_genome(CORES, run))
    whole = path.read_bytes()
    for position in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=f"whole cores in {path}.*delete the file"):
            load_genome(path)


def test_any_truncation_is_noticed(run):
    path = run.genome(save_genome(CORES, run))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="whole cores in .*delete the file"):
            load_genome(path)


def test_the_genome_of_another_member_is_noticed(run):
    path = run.genome(save_genome(CORES, run))
    other = run.genome(save_genome({**CORES, "a.q_proj": CORES["a.q_proj"] + 1}, run))
    other.replace(path)
    with pytest.raises(StoreError, match="its content does not have that hash"):
        load_genome(path)


def test_a_space_that_was_read_back_computes_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)

    def adapter():
        B, A = rng.normal(size=(192, 16)), rng.normal(size=(16, 512))
        return {"a.up_proj": LowRank(B.astype(np.float32), A.astype(np.float32))}

    experts = [adapter() for _ in range(3)]
    space = CoreSpace.of(experts)
    save_space(space, tmp_path / "space.safetensors")
    read = load_space(tmp_path / "space.safetensors")
    for task_vector in (*experts, adapter()):
        cores = space.project(task_vector)
        assert content_hash(read.project(task_vector)) == content_hash(cores)
        for rank in (None, 8):
            one, other = (s.materialise(cores, rank=rank) for s in (space, read))
            for module, update in one.task_vector.items():
                np.testing.assert_array_equal(update.B, other.task_vector[module].B)
                np.testing.assert_array_equal(update.A, other.task_vector[module].A)
