import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lora_qd.errors import InputError, MissingExtraError, TrainingError
from lora_qd.experts.config import TrainingConfig
from lora_qd.experts.data import example
from lora_qd.experts.training import (
    RECORD_NAME,
    add_scores,
    load_record,
    train_expert,
)

WORDS = ("user", "assistant", "repeat", "word")


def repeats(num, seed=0):
    """Questions whose answer is a word of the question, twice."""
    rng = random.Random(seed)
    words = [rng.choice(WORDS) for _ in range(num)]
    return [example(f"repeat the word {word}", f"{word} {word}") for word in words]


SHORT = TrainingConfig(rank=4, alpha=8, batch_size=4, max_steps=3, learning_rate=1e-2)
EXAMPLES = repeats(24)


def train(base, directory, training=SHORT, examples=EXAMPLES, **options):
    return train_expert(training, examples, base=base, directory=directory, **options)


@pytest.fixture(scope="module")
def expert(base, tmp_path_factory):
    """An expert that was trained in three steps; tests leave it as it is."""
    return train(base, tmp_path_factory.mktemp("experts") / "words")


def weights(directory):
    return (directory / "adapter_model.safetensors").read_bytes()


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_the_loss_falls(base, tmp_path):
    training = SHORT.model_copy(update={"max_steps": None, "epochs": 6})
    record = train(base, tmp_path / "words", training).record
    assert record.loss_after < 0.9 * record.loss_before


def test_the_directory_holds_the_adapter_and_its_record_only(expert):
    assert names_in(expert.directory) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        RECORD_NAME,
    ]
    assert names_in(expert.directory.parent) == [expert.directory.name]


def test_peft_loads_the_adapter_and_it_changes_the_output(base, expert):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.arange(10, 20)[None]
    with torch.no_grad():
        before = model(ids).logits
        adapted = PeftModel.from_pretrained(model, expert.directory)
        after = adapted(ids).logits
        with adapted.disable_adapter():
            without = adapted(ids).logits
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(without, before)


def test_all_linear_layers_but_the_head_have_factors_of_the_rank(expert):
    from lora_qd.store.adapters import load_adapter

    task_vector = load_adapter(expert.directory).task_vector
    assert {name.split(".")[-1] for name in task_vector} == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    assert {update.rank for update in task_vector.values()} == {4}
    assert {update.scaling for update in task_vector.values()} == {2.0}


def test_only_the_named_modules_have_factors(base, tmp_path):
    from lora_qd.store.adapters import load_adapter

    training = SHORT.model_copy(update={"target_modules": ["q_proj", "v_proj"]})
    directory = train(base, tmp_path / "words", training).directory
    names = load_adapter(directory).task_vector
    assert {name.split(".")[-1] for name in names} == {"q_proj", "v_proj"}


def test_the_record_says_what_was_done(base, expert):
    record = load_record(expert.directory)
    assert record == expert.record
    assert record.training == SHORT
    assert (record.num_steps, record.num_examples) == (3, len(EXAMPLES) - 1)
    assert record.seconds > 0
    assert {"torch", "transformers", "peft", "trl"} <= set(record.versions)
    assert record.score_before is None


def test_no_path_of_the_machine_is_in_the_adapter(base, expert):
    for path in expert.directory.iterdir():
        assert os.path.dirname(base).encode() not in path.read_bytes()
    config = json.loads((expert.directory / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"


def test_a_base_below_the_working_directory_is_named_from_there(
    base, tmp_path, monkeypatch
):
    monkeypatch.chdir(os.path.dirname(os.path.dirname(base)))
    record = train(base, tmp_path / "words").record
    assert record.base == "/".join(base.split("/")[-2:])


def test_the_same_config_gives_the_same_bytes(base, expert, tmp_path):
    again = train(base, tmp_path / "words")
    assert weights(again.directory) == weights(expert.directory)
    config = "adapter_config.json"
    assert (again.directory / config).read_bytes() == (
        expert.directory / config
    ).read_bytes()
    assert again.record.config_hash == expert.record.config_hash


def test_another_seed_gives_another_adapter(base, expert, tmp_path):
    other = train(base, tmp_path / "words", SHORT.model_copy(update={"seed": 1}))
    assert weights(other.directory) != weights(expert.directory)


def test_micro_batches_give_the_same_adapter_but_for_rounding(base, expert, tmp_path):
    import numpy as np

    from lora_qd.store.adapters import load_adapter

    plain = SHORT.model_copy(update={"dtype": "float32"})
    parts = plain.model_copy(update={"micro_batch_size": 2})
    whole = load_adapter(train(base, tmp_path / "a", plain).directory).task_vector
    split = load_adapter(train(base, tmp_path / "b", parts).directory).task_vector
    for name, update in whole.items():
        dense = [u.scaling * u.B @ u.A for u in (split[name], update)]
        np.testing.assert_allclose(*dense, atol=1e-3)


def test_an_expert_with_the_same_hash_is_not_trained_again(base, tmp_path):
    first = train(base, tmp_path / "words")
    stamp = first.directory.stat().st_mtime_ns
    second = train(base, tmp_path / "words")
    assert (first.was_trained, second.was_trained) == (True, False)
    assert second.record == first.record
    assert second.directory.stat().st_mtime_ns == stamp


def test_another_hash_trains_again_in_place(base, tmp_path):
    first = train(base, tmp_path / "words")
    second = train(base, tmp_path / "words", examples=repeats(24, seed=1))
    assert second.was_trained
    assert second.record.config_hash != first.record.config_hash
    assert load_record(tmp_path / "words") == second.record
    assert names_in(tmp_path) == ["words"]


def test_force_trains_the_same_expert_again(base, tmp_path):
    train(base, tmp_path / "words")
    assert train(base, tmp_path / "words", force=True).was_trained


def test_progress_is_told_up_to_the_last_step(base, tmp_path):
    told = []
    training = SHORT.model_copy(update={"max_steps": 5})
    train(base, tmp_path / "words", training, progress=lambda *it: told.append(it))
    assert [step for step, _, _ in told] == [1, 2, 3, 4, 5]
    assert {total for _, total, _ in told} == {5}
    assert all(loss > 0 for _, _, loss in told)


def test_training_prints_nothing(base, tmp_path, capfd):
    train(base, tmp_path / "words")
    assert capfd.readouterr() == ("", "")


def test_examples_that_are_too_long_are_counted(base, tmp_path):
    examples = [*EXAMPLES, example("word " * 500, "word")]
    training = SHORT.model_copy(update={"max_length": 64})
    record = train(base, tmp_path / "words", training, examples).record
    assert record.num_too_long == 1
    assert record.num_examples == len(EXAMPLES) - 1


def test_scores_are_added_to_the_record(base, tmp_path):
    trained = train(base, tmp_path / "words")
    add_scores(trained.directory, before=0.25, after=0.75)
    record = load_record(trained.directory)
    assert (record.score_before, record.score_after) == (0.25, 0.75)
    assert not train(base, tmp_path / "words").was_trained


def test_a_base_in_four_bits_trains_on_a_cpu(base, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    pytest.importorskip("bitsandbytes")
    recipe = {"micro_batch_size": 2, "gradient_checkpointing": True}
    training = SHORT.model_copy(update={"quantization": "nf4", "max_steps": 2} | recipe)
    trained = train(base, tmp_path / "words", training)
    assert trained.record.num_steps == 2
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.arange(10, 20)[None]
    with torch.no_grad():
        before = model(ids).logits
        after = PeftModel.from_pretrained(model, trained.directory)(ids).logits
    assert (after - before).abs().max() > 1e-4


def test_a_base_that_is_quantised_on_disk_is_refused(base, tmp_path):
    awq = tmp_path / "awq"
    shutil.copytree(base, awq)
    config = json.loads((awq / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq"}
    (awq / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"names awq; name the checkpoint in 16 bit"):
        train(str(awq), tmp_path / "words")
    assert names_in(tmp_path) == ["awq"]


class StoppedError(Exception):
    """Raised by a test in the middle of training."""


def interrupt(step, total, loss):
    raise StoppedError


def test_interrupted_training_leaves_nothing(base, tmp_path):
    with pytest.raises(StoppedError):
        train(base, tmp_path / "words", progress=interrupt)
    assert names_in(tmp_path) == []


def test_interrupted_training_leaves_the_older_expert_whole(base, tmp_path):
    first = train(base, tmp_path / "words")
    with pytest.raises(StoppedError):
        train(base, tmp_path / "words", force=True, progress=interrupt)
    assert load_record(tmp_path / "words") == first.record
    assert names_in(tmp_path) == ["words"]


@pytest.mark.slow
def test_a_killed_training_leaves_nothing(base, tmp_path):
    """SIGKILL in the middle of training; no clean-up code can run."""
    script = (
        "import sys, pathlib\n"
        "from lora_qd.experts.config import TrainingConfig\n"
        "from lora_qd.experts.data import example\n"
        "from lora_qd.experts.training import train_expert\n"
        "train_expert(TrainingConfig(epochs=1000, batch_size=4),\n"
        "    [example('q', 'a')] * 40, base=sys.argv[1],\n"
        "    directory=pathlib.Path(sys.argv[2]) / 'words',\n"
        "    progress=lambda *_: print('step', flush=True))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, base, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "step\n"
        child.send_signal(signal.SIGKILL)
    assert names_in(tmp_path) == []


def test_a_directory_with_other_files_is_never_replaced(base, tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="other files are there; choose another"):
        train(base, tmp_path / "words", force=True)
    assert names_in(tmp_path / "words") == ["thesis.txt"]


def test_a_damaged_record_is_an_error_until_forced(base, tmp_path):
    trained = train(base, tmp_path / "words")
    (trained.directory / RECORD_NAME).write_text("{")
    with pytest.raises(InputError, match=r"as loraqd wrote it, .* --force"):
        train(base, tmp_path / "words")
    assert train(base, tmp_path / "words", force=True).was_trained


def test_a_directory_without_a_record_is_no_expert(tmp_path):
    with pytest.raises(InputError, match=r"an expert with loraqd_expert.json in"):
        load_record(tmp_path)


@pytest.mark.parametrize("examples", [[], EXAMPLES[:1]])
def test_too_few_examples_are_an_error(base, tmp_path, examples):
    with pytest.raises(InputError, match="expected at least 2 training examples"):
        train(base, tmp_path / "words", examples=examples)
    assert names_in(tmp_path) == []


def test_examples_that_are_all_too_long_are_an_error(base, tmp_path):
    training = SHORT.model_copy(update={"max_length": 3})
    with pytest.raises(InputError, match="at least 2 examples of at most 3 tokens"):
        train(base, tmp_path / "words", training)


def test_a_base_that_is_no_model_is_an_error(tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match=r"but config.json is missing"):
        train(str(tmp_path / "base"), tmp_path / "words")
    (tmp_path / "base" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="expected a tokenizer in"):
        train(str(tmp_path / "base"), tmp_path / "words")


def test_a_module_that_the_base_has_not_is_an_error(base, tmp_path):
    training = SHORT.model_copy(update={"target_modules": ["warp_proj"]})
    with pytest.raises(TrainingError, match="warp_proj"):
        train(base, tmp_path / "words", training)
    assert names_in(tmp_path) == []


def test_a_loss_that_is_no_number_stops_the_training(base, tmp_path):
    training = SHORT.model_copy(update={"learning_rate": 1e30, "max_steps": 6})
    with pytest.raises(TrainingError, match=r"expected .*finite .*lower learning_rate"):
        train(base, tmp_path / "words", training)
    assert names_in(tmp_path) == []


def test_cuda_without_a_device_is_an_error(base, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    training = SHORT.model_copy(update={"device": "cuda"})
    with pytest.raises(InputError, match="expected a CUDA device"):
        train(base, tmp_path / "words", training)


def test_without_trl_the_extra_is_named(base, tmp_path, monkeypatch):
    for name in ("lora_qd.experts.sft", "trl"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'loraqd\[train\]'"):
        train(base, tmp_path / "words")


def test_the_trainer_is_imported_only_to_train():
    script = (
        "import sys, lora_qd.experts.training, lora_qd.experts.data\n"
        "heavy = {'torch', 'trl', 'transformers', 'peft', 'datasets'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


@pytest.mark.slow
def test_memory_stays_flat_from_expert_to_expert(base, tmp_path):
    def resident_mb():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    sizes = []
    for seed in range(6):
        training = SHORT.model_copy(update={"seed": seed})
        train(base, tmp_path / f"{seed}", training)
        sizes.append(resident_mb())
    assert sizes[-1] - sizes[1] < 100
