"""Costs are sums over what the ledger holds, nothing else."""

import pytest

from lora_qd.records import Score, Scored, Split, StageSeconds, Usage
from lora_qd.runs.costs import run_costs, spent
from lora_qd.runs.measure_config import EngineConfig
from lora_qd.store.ledger import Ledger

TOLD = {"code": {"s": Score(1.0, num_prompt_tokens=30, num_tokens=5)}}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", is_writer=True) as ledger:
        first = ledger.open_session({})
        ledger.keep_usage(first, Usage(1800.0, 3000.0, 2, 1))
        second = ledger.open_session({})
        ledger.keep_usage(second, Usage(400.0, 200.0, 1))
        ledger.commit_outcomes(
            "base", Split.TEST, Scored(TOLD, StageSeconds(1, 2, 3, 4, 5))
        )
        ledger.commit_outcomes(
            "a", Split.TEST, Scored(TOLD, StageSeconds(1, 0, 0, 1, 0))
        )
        yield ledger


def test_tokens_and_stages_add_up_over_evaluations(ledger):
    costs = run_costs(ledger, EngineConfig())
    assert (costs.num_prompt_tokens, costs.num_tokens) == (60, 10)
    assert costs.stages == StageSeconds(2, 2, 3, 5, 5)


def test_engines_add_up_over_sessions(ledger):
    costs = run_costs(ledger, EngineConfig())
    assert costs.engine_s == 4000.0
    assert costs.busy_share == pytest.approx(0.8)
    assert costs.num_restarts == 1


def test_money_counts_every_accelerator(ledger):
    engine = EngineConfig(price_per_hour=3.6, gpus_per_server=2)
    assert run_costs(ledger, engine).money == pytest.approx(8.0)
    assert spent(Usage(500.0, 0.0, 2), engine) == pytest.approx(2.0)


def test_without_a_price_there_is_no_money(ledger):
    assert run_costs(ledger, EngineConfig()).money is None
    assert spent(Usage(500.0, 0.0, 2), EngineConfig()) is None


def test_a_run_without_evaluations_has_cost_nothing(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", is_writer=True) as ledger:
        costs = run_costs(ledger, EngineConfig())
    assert (costs.num_evaluations, costs.busy_share) == (0, 0.0)
    assert costs.sentences()
