"""What can go wrong around a run: one clear line each, and it goes on afterwards."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lora_qd.cli.evolving import go_on, start
from lora_qd.errors import InputError, StoreError
from lora_qd.runs.run import Run
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory
from tests.runs import driver, synthetic

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def synthetic_world(monkeypatch):
    driver.into_synthetic_world(monkeypatch.setattr)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return what an undisturbed run leaves."""
    config = synthetic.config(tmp_path_factory.mktemp("whole"))
    synthetic.run(config)
    return synthetic.footprint(config.run)


@pytest.fixture
def stopped(tmp_path):
    """Return the config of a run that was stopped after 12 of 17 members."""
    return stopped_run(tmp_path)


def stopped_run(path):
    class StoppedError(Exception):
        """Somebody stopped the run."""

    def stop(progress):
        if progress.num_done == 12:
            raise StoppedError

    config = synthetic.config(path)
    with pytest.raises(StoppedError):
        synthetic.run(config, progress=stop)
    return config


def config_file(config):
    path = config.run.parent / "given.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def assert_whole(config, whole):
    assert synthetic.footprint(config.run) == whole


@pytest.fixture
def mounted(tmp_path):
    """Return a function that mounts; everything is unmounted at the end."""
    places = []

    def mount(place, *arguments):
        done = subprocess.run(
            ["mount", *arguments, str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting needs root")
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


# What is on disk


@pytest.mark.parametrize("num_free", [0, 8, 40, 90, 150, 250])
def test_a_full_disk_is_one_line(tmp_path, mounted, whole, num_free):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted(disk, "-t", "tmpfs", "-o", "size=1m", "none")
    config = synthetic.config(disk)
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(b"x" * (free - num_free * 1024))
    facts = "No space left|disk is full|disk I/O error"
    with pytest.raises(StoreError, match=f"({facts}).* free space") as caught:
        synthetic.run(config)
    assert "\n" not in str(caught.value)
    filler.unlink()
    synthetic.run(config)
    assert_whole(config, whole)


def remount(place, how):
    subprocess.run(["mount", "-o", f"remount,{how},bind", str(place)], check=True)


def test_a_read_only_run_is_read_but_not_written(stopped, mounted, whole):
    mounted(stopped.run, "--bind", str(stopped.run))
    remount(stopped.run, "ro")
    with pytest.raises(StoreError, match="expected to write in .*Read-only file sys"):
        go_on(stopped.run, children=None)
    with Ledger(stopped.run / "ledger.sqlite") as ledger:
        assert ledger.num_children == 12
    remount(stopped.run, "rw")
    go_on(stopped.run, children=None)
    assert_whole(stopped, whole)
    remount(stopped.run, "ro")
    assert Run.open(stopped.run).member("aggregate").cores


def flip(path, rng):
    content = bytearray(path.read_bytes())
    position = rng.randrange(8 * len(content))
    content[position // 8] ^= 1 << position % 8
    path.write_bytes(content)


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_genome_is_named_and_made_anew(stopped, whole, damage, seed):
    rng = random.Random(seed)
    for path in (stopped.run / "members").iterdir():
        damage(path, rng)
    with pytest.raises(StoreError, match="whole cores in .*safetensors.*delete the fi"):
        go_on(stopped.run, children=None)
    for path in (stopped.run / "members").iterdir():
        path.unlink()
    go_on(stopped.run, children=None)
    assert_whole(stopped, whole)


def test_a_damaged_core_space_is_named_and_made_anew(stopped, whole):
    flip(stopped.run / "space.safetensors", random.Random(1))
    with pytest.raises(StoreError, match=r"space\.safetensors.*delete the file"):
        go_on(stopped.run, children=None)
    (stopped.run / "space.safetensors").unlink()
    go_on(stopped.run, children=None)
    assert_whole(stopped, whole)


def test_a_damaged_ledger_is_one_line(stopped, whole):
    path = stopped.run / "ledger.sqlite"
    with Ledger(path, is_writer=True):
        pass  # nothing is left in the log
    copy = path.read_bytes()
    for page in range(1, len(copy) // 4096):
        damaged = bytearray(copy)
        damaged[4096 * page : 4096 * (page + 1)] = os.urandom(4096)
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="use the ledger .*restore the file") as at:
            go_on(stopped.run, children=None)
        assert "\n" not in str(at.value)
    path.write_bytes(copy)
    go_on(stopped.run, children=None)
    assert_whole(stopped, whole)


def test_a_damaged_run_may_be_replaced(stopped, whole):
    (stopped.run / "ledger.sqlite").write_bytes(b"no database at all" * 500)
    given = config_file(stopped)
    with pytest.raises(StoreError, match="use the ledger .*restore the file"):
        start(given, [], run=None, overwrite=False)
    start(given, [], run=None, overwrite=True)
    assert_whole(stopped, whole)


# Who may write


def test_a_second_writer_is_one_line(stopped, whole):
    with (
        RunDirectory(stopped.run).lock(),
        pytest.raises(InputError, match="to be free, but another process is writing"),
    ):
        go_on(stopped.run, children=None)
    go_on(stopped.run, children=None)
    assert_whole(stopped, whole)


def test_evolve_goes_on_with_the_same_config_and_then_leaves_it_alone(stopped, whole):
    given = config_file(stopped)
    start(given, [], run=None, overwrite=False)
    assert_whole(stopped, whole)
    with pytest.raises(InputError, match="unfinished run .*12 children and .*--child"):
        start(given, [], run=None, overwrite=False)
    with pytest.raises(InputError, match=r"seed: 2 instead of 1; .*--overwrite"):
        start(given, ["seed=2"], run=None, overwrite=False)
    start(given, ["seed=2"], run=None, overwrite=True)
    assert synthetic.footprint(stopped.run)[0] != whole[0]


def test_resume_extends_a_finished_run(tmp_path, whole):
    config = synthetic.config(tmp_path, search__children=7)
    synthetic.run(config)
    go_on(config.run, children="+5")
    assert synthetic.footprint(config.run)[0] == whole[0]
    with pytest.raises(InputError, match="expected an unfinished run"):
        go_on(config.run, children="12")


def test_a_run_that_never_began_is_begun(tmp_path, whole):
    config = synthetic.config(tmp_path)
    config.run.mkdir()
    (config.run / "ledger.sqlite").write_bytes(b"")
    with pytest.raises(InputError, match="stopped before it began; start it"):
        go_on(config.run, children=None)
    start(config_file(config), [], run=None, overwrite=False)
    assert_whole(config, whole)


def test_a_missing_expert_is_one_line(stopped, monkeypatch):
    from lora_qd.runs.experts import load_experts

    monkeypatch.setattr("lora_qd.cli.evolving.load_experts", load_experts)
    with pytest.raises(InputError, match="expert of 'code' in .*there is none"):
        go_on(stopped.run, children=None)


# What happens while it runs


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, whole):
    jumps = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: jumps.uniform(0, 4e9))
    config = synthetic.config(tmp_path)
    synthetic.run(config)
    assert_whole(config, whole)
    with Ledger(config.run / "ledger.sqlite") as ledger:
        assert all(0 <= cost.stages.total < 60 for cost in ledger.costs())


def drive(config, **environment):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.runs.driver", "evolve"),
            *("--config", str(config_file(config))),
        ],
        cwd=ROOT,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_children(process, config, num):
    deadline = time.monotonic() + 60
    ledger = config.run / "ledger.sqlite"
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        if ledger.is_file():
            with Ledger(ledger) as reader:
                if reader.num_children >= num:
                    return
        time.sleep(0.01)
    raise AssertionError("the run does not get on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_is_a_clean_stop(tmp_path, whole, number):
    config = synthetic.config(tmp_path)
    process = drive(config, SLOW_STOP="2")
    wait_for_children(process, config, 6)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    assert "closing" in printed
    assert f"Go on: loraqd resume {config.run}" in printed
    go_on(config.run, children=None)
    assert_whole(config, whole)


def test_a_second_interrupt_stops_at_once(tmp_path, whole):
    config = synthetic.config(tmp_path)
    process = drive(config, SLOW_STOP="60")
    wait_for_children(process, config, 5)
    process.send_signal(signal.SIGINT)
    while process.stdout.readline() != "closing\n":
        assert process.poll() is None
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - start < 20
    go_on(config.run, children=None)
    assert_whole(config, whole)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"NUM_FILES": "64"}, "at least 256 files may be open, but the limit is 64"),
        ({"NUM_FILES_LATER": "10"}, "Too many open files"),
    ],
)
def test_too_few_open_files_is_one_line(tmp_path, whole, limit, message):
    config = synthetic.config(tmp_path)
    _, errors = drive(config, **limit).communicate(timeout=60)
    (line,) = errors.splitlines()
    assert line.startswith("loraqd: expected ")
    assert message in line
    start(config_file(config), [], run=None, overwrite=False)
    assert_whole(config, whole)
