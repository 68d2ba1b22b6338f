"""What a plan says of work, time and price, against arithmetic and a real run."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from lora_qd.engines.chat import ChatFormat
from lora_qd.errors import InputError
from lora_qd.records import Message, Sample, Split
from lora_qd.runs.config import load_config, parse_config
from lora_qd.runs.measure_config import EngineConfig
from lora_qd.runs.plan import device_of, plan_run, price_of
from lora_qd.runs.skills import built_in_skills
from lora_qd.runs.timing import DEVICES, REACHED, Cost, time_run
from lora_qd.runs.token_counts import EstimatedCounter, token_counter
from lora_qd.runs.workload import candidate_counts, passes_of
from lora_qd.store.ledger import Ledger
from tests.engines.checkpoints import save_quantised
from tests.runs.small import ROOT, SMALL
from tests.runs.test_memory import write_base

TINY = ROOT / "adapters" / "tiny-llama"


class OneTokenPerCharacter:
    """A counter whose sums are easy to check."""

    def prompt(self, sample):
        return len(sample.prompt)

    def answer(self, sample):
        return len(sample.target)


def config_of(path, **changes):
    raw = {
        "base": str(TINY),
        "experts_dir": str(path / "experts"),
        "run": str(path / "run"),
        "skills": ["code", "shell"],
    }
    return parse_config(raw | changes, source="test")


def questions(num, prompt, target):
    return [Sample(str(i), prompt, target) for i in range(num)]


def passes_for(config):
    samples = {
        name: {split: questions(10, "question", "abc") for split in Split}
        for name in (*config.skills, *config.retention)
    }
    return passes_of(config, samples, OneTokenPerCharacter())


def seconds(config, device="h100", num_servers=1, **cost):
    sizes = Cost(num_parameters=8 * 10**9, traffic=16 * 10**9, kv_per_token=131_072)
    return time_run(
        passes_for(config), config, replace(sizes, **cost), DEVICES[device], num_servers
    )


@pytest.fixture
def small():
    """The config of the session's finished run."""
    return load_config(ROOT / "configs" / "tiny.yaml", SMALL)


@pytest.fixture
def in_root(monkeypatch):
    """Relative paths of the shipped configs hold."""
    monkeypatch.chdir(ROOT)


def test_candidates_follow_the_rules_of_the_search_and_the_finals(tmp_path):
    config = config_of(
        tmp_path,
        search={"children": 50},
        merge_gains=[0.4, 0.6, 0.8],
        finalists=12,
    )
    counts = candidate_counts(config)
    assert sum(counts[Split.SEARCH].values()) == 2 + 3 + 50
    assert sum(counts[Split.VALIDATION].values()) == 3 + 12 + 2
    assert sum(counts[Split.TEST].values()) == 1 + 2 + 1 + 1 + 1


def test_archives_without_static_merges_are_seeded_by_experts_alone(tmp_path):
    config = config_of(tmp_path, search={"children": 5, "seed_merges": False})
    counts = candidate_counts(config)
    assert sum(counts[Split.SEARCH].values()) == 2 + 5
    assert counts[Split.VALIDATION]["finalists"] == 5


def test_a_run_without_children_has_no_bred_member(tmp_path):
    counts = candidate_counts(config_of(tmp_path, search={"children": 0}))
    assert counts[Split.VALIDATION]["finalists"] == 0
    assert counts[Split.TEST]["bred member"] == 0


def test_limits_of_samples_hold_and_retention_is_only_tested(tmp_path):
    config = config_of(
        tmp_path, samples={"search": 4, "test": 99}, retention=["general"]
    )
    search, validation, test = passes_for(config)
    assert search.num_samples == search.num_candidates * 2 * 4
    assert validation.num_samples == validation.num_candidates * 2 * 10
    assert test.num_samples == test.num_candidates * 3 * 10
    assert search.num_prompt_tokens == search.num_samples * len("question")
    assert search.num_tokens == search.num_samples * len("abc")


def test_prompts_are_counted_as_the_engine_renders_them(in_root):
    counter, chat = token_counter(TINY), ChatFormat(str(TINY))
    for task in built_in_skills().values():
        for sample in task.samples(Split.SEARCH):
            ids = chat.encode((Message("user", sample.prompt),))
            assert counter.prompt(sample) == len(ids)


def test_a_base_without_its_tokenizer_is_estimated(tmp_path):
    assert isinstance(token_counter(None), EstimatedCounter)
    assert isinstance(token_counter(tmp_path), EstimatedCounter)
    real, estimated = token_counter(TINY), EstimatedCounter()
    (sample,) = built_in_skills()["code"].samples(Split.SEARCH)[:1]
    assert 0.5 < estimated.prompt(sample) / real.prompt(sample) < 2


def test_a_damaged_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer in .* does not load"):
        token_counter(tmp_path)


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((TINY / name).read_bytes())
    with pytest.raises(InputError, match="expected a chat template"):
        token_counter(tmp_path)


def test_a_step_takes_its_bytes_over_the_bandwidth_and_its_flops_over_the_peak(
    tmp_path,
):
    config = config_of(tmp_path, search={"children": 1, "seed_merges": False})
    config = config.model_copy(
        update={"engine": config.engine.model_copy(update={"max_loras": 1})}
    )
    part = passes_for(config)[0]
    running, device = 20, DEVICES["h100"]
    length = len("question") + len("abc") / 2
    step = device.step_s
    step += (16e9 + running * length * 131_072) / (REACHED * device.bandwidth)
    step += running * 16e9 / (REACHED * device.peak)
    prefill = part.num_prompt_tokens * 16e9 / (REACHED * device.peak)
    expected = (part.num_tokens / running * step + prefill) / 0.8
    assert seconds(config).passes_s[0] == pytest.approx(expected)


def test_two_servers_halve_the_time_but_not_the_start(tmp_path):
    config = config_of(tmp_path, search={"children": 400, "batch": 8})
    one, two = seconds(config), seconds(config, num_servers=2)
    assert two.passes_s[0] == pytest.approx(one.passes_s[0] / 2)
    assert two.start_s == one.start_s
    assert two.total_s == two.start_s + sum(two.passes_s)


def test_a_plan_counts_the_servers_of_the_config(tmp_path):
    search = {"children": 400, "batch": 8}
    one, two, wide = (
        plan_run(config_of(tmp_path, search=search, engine=engine), "l40s")
        for engine in ({}, {"servers": 2}, {"gpus_per_server": 2})
    )
    assert (one.num_servers, two.num_servers) == (1, 2)
    assert two.timing.passes_s[0] == pytest.approx(one.timing.passes_s[0] / 2)
    assert wide.timing.total_s < one.timing.total_s


def test_a_textbook_loop_keeps_one_candidate_in_flight(tmp_path):
    search = {"children": 400, "batch": 1}
    lagging = seconds(config_of(tmp_path, search=search | {"lag": 3}))
    textbook = seconds(config_of(tmp_path, search=search | {"lag": 0}))
    assert textbook.passes_s[0] > 2 * lagging.passes_s[0]


def test_a_faster_device_takes_less_and_a_larger_base_more(tmp_path):
    config = config_of(tmp_path)
    times = [seconds(config, name).total_s for name in ("rtx4090", "a100", "h200")]
    assert times == sorted(times, reverse=True)
    assert seconds(config, traffic=10**11).total_s > seconds(config).total_s


def price(**engine):
    return price_of(5400, EngineConfig(**engine))


def test_the_price_is_hours_times_accelerators():
    assert price(price_per_hour=2.0, servers=3) == pytest.approx(9.0)
    assert price(price_per_hour=2.0, servers=3, gpus_per_server=2) == pytest.approx(18)
    assert price(price_per_hour=2.0, urls=("a", "b")) == pytest.approx(6.0)
    assert price(price_per_hour=2.0) == pytest.approx(3.0)
    assert price(price_per_hour=0.0) == 0
    assert price() is None


def test_a_negative_price_is_refused(tmp_path):
    with pytest.raises(InputError, match="price_per_hour: Input should be greater"):
        config_of(tmp_path, engine={"price_per_hour": -1})


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError, match="expected a device out of cpu, .* got 'tpu'"):
        device_of("tpu")


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_a_base_that_is_quantised_on_disk_is_planned_as_it_is(tmp_path, method):
    base = save_quantised(TINY, tmp_path / "quantised", method)
    engine = {"quantization": method}
    config = config_of(
        tmp_path, base=str(base), engine=engine, allow_other_quantization=True
    )
    tensors = load_file(base / "model.safetensors").values()
    planned = plan_run(config, "cpu").memory.weights
    assert planned == sum(tensor.nbytes for tensor in tensors)


def test_modules_that_the_base_lacks_are_refused(tmp_path):
    config = config_of(tmp_path, training={"target_modules": ["c_attn"]})
    with pytest.raises(InputError, match="has none of c_attn"):
        plan_run(config, "cpu")


def test_experts_that_are_there_decide_what_is_adapted(tmp_path, in_root):
    from tests.tiny_base import save_random_adapter

    plan = plan_run(config_of(tmp_path), "cpu")
    assert (plan.experts, plan.missing) == ((), ("code", "shell"))
    assert plan.num_modules == 28
    for seed, skill in enumerate(("code", "shell")):
        save_random_adapter(
            tmp_path / "experts" / skill, seed, rank=4, modules=("self_attn.q_proj",)
        )
    plan = plan_run(config_of(tmp_path), "cpu")
    assert plan.experts == ("code", "shell")
    assert plan.num_modules == 4
    assert plan.storage.genome == 4 * (8 * 8) * 4
    assert plan.memory.slot == 4 * 16 * (192 + 192) * 2


def test_llama_3_8b_is_planned_from_its_config_alone(tmp_path):
    base = write_base(tmp_path / "llama")
    engine = {"quantization": "nf4", "max_loras": 8, "price_per_hour": 3.0}
    config = config_of(tmp_path, base=base, engine=engine)
    plan = plan_run(config, "h100")
    assert plan.memory.slot == 83_886_080
    assert plan.memory.smallest_gb == 24
    assert plan.fits
    assert not plan.is_tokenized
    assert plan.cost == pytest.approx(plan.timing.total_s / 3600 * 3.0)


def test_a_plan_foresees_what_a_run_did(finished_run, small, in_root):
    run, _ = finished_run
    plan = plan_run(small, "cpu")
    with Ledger(run / "ledger.sqlite") as ledger:
        costs = ledger.costs()
    for part in plan.passes:
        done = [cost for cost in costs if cost.split is part.split]
        if part.split is Split.VALIDATION:  # elites that are finalists count once
            assert part.num_candidates - 5 <= len(done) <= part.num_candidates
        else:
            assert len(done) == part.num_candidates
        prompt_tokens = sum(cost.num_prompt_tokens for cost in done)
        assert prompt_tokens * part.num_candidates == len(done) * part.num_prompt_tokens
        tokens = sum(cost.num_tokens for cost in done)
        assert 0.5 < tokens / len(done) * part.num_candidates / part.num_tokens < 2
    notes = json.loads((run / "results.json").read_text())["notes"]
    took_s = 60 * float(notes["minutes"])
    assert 0.25 < plan.timing.total_s / took_s < 4
