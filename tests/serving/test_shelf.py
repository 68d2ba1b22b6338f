"""Adapters come when asked for, stay while used, and go when nobody wants them."""

import threading

import pytest

from lora_qd.errors import InputError, LoraQDError
from lora_qd.serving.shelf import GRACE_S, Shelf


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Maker:
    """Writes a file for each name, and counts."""

    def __init__(self):
        self.made = []

    def __call__(self, name, directory):
        if name.startswith("no"):
            raise InputError(f"expected a member, but got {name!r}; ask another")
        self.made.append(name)
        path = directory / "adapter"
        path.mkdir()
        (path / "weights").write_text(name)
        return path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def shelf(maker, clock, tmp_path):
    return Shelf(maker, tmp_path / "shelf", capacity=2, clock=clock)


def files(tmp_path):
    return sorted(p.read_text() for p in (tmp_path / "shelf").rglob("weights"))


def test_an_adapter_is_made_once(shelf, maker):
    first = shelf.find("a")
    assert shelf.find("a") == first
    assert maker.made == ["a"]
    assert (first / "weights").read_text() == "a"


def test_what_is_over_the_capacity_goes_the_longest_idle_first(shelf, clock, tmp_path):
    gone = []
    for name in "abcd":
        clock.now += 1
        shelf.find(name)
    shelf.find("a")  # used again: b is now the oldest
    clock.now += GRACE_S
    clock.now += 1
    assert shelf.forget(gone.append) == gone == ["b", "c"]
    assert files(tmp_path) == ["a", "d"]
    assert len(shelf) == 2


def test_what_is_used_or_was_just_used_stays(shelf, clock, tmp_path):
    with shelf.using("a"):
        for name in "bcd":
            shelf.find(name)
        clock.now += 2 * GRACE_S
        shelf.forget(lambda _: None)
        assert "a" in files(tmp_path)
        assert len(shelf) == 2
        for name in "ef":
            shelf.find(name)
        assert shelf.forget(lambda _: None) == ["d"]
    assert "a" in files(tmp_path)
    clock.now += GRACE_S - 1
    shelf.find("g")
    assert "a" not in shelf.forget(lambda _: None)  # a moment ago it was in use


def test_who_is_forgotten_comes_back_under_another_path(shelf, clock):
    first = shelf.find("a")
    for name in "bc":
        clock.now += 1
        shelf.find(name)
    clock.now += 2 * GRACE_S
    assert shelf.forget(lambda _: None) == ["a"]
    assert not first.exists()
    assert shelf.find("a") != first


def test_the_server_is_told_before_the_files_go(shelf, clock):
    paths = {name: shelf.find(name) for name in "abc"}
    clock.now += 2 * GRACE_S
    seen = []
    shelf.forget(lambda name: seen.append(paths[name].exists()))
    assert seen == [True]


def test_thousands_of_members_leave_a_few_files(shelf, clock, tmp_path):
    for number in range(2000):
        with shelf.using(f"m{number}"):
            pass
        clock.now += GRACE_S
        shelf.forget(lambda _: None)
    assert len(shelf) == len(files(tmp_path)) == 2


def test_two_first_requests_make_one_adapter(maker, tmp_path):
    both = threading.Barrier(2)

    def slow(name, directory):
        return maker(name, directory)

    shelf = Shelf(slow, tmp_path / "shelf", capacity=2)
    found = []

    def ask():
        both.wait()
        with shelf.using("a"):
            found.append(shelf.find("a"))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert maker.made == ["a"]


@pytest.mark.parametrize("name", ["nobody", "no/../../etc"])
def test_nobody_leaves_nothing(shelf, tmp_path, name):
    with pytest.raises(InputError, match="expected a member"):
        shelf.find(name)
    with pytest.raises(InputError, match="expected a member"), shelf.using(name):
        raise AssertionError
    assert files(tmp_path) == []
    assert list((tmp_path / "shelf").iterdir()) == []
    assert len(shelf) == 0


def test_a_full_disk_is_one_line(tmp_path):
    def full(name, directory):
        raise OSError(28, "No space left on device")

    shelf = Shelf(full, tmp_path, capacity=2)
    with pytest.raises(LoraQDError, match="expected room .* No space left.*free space"):
        shelf.find("a")
    assert list(tmp_path.iterdir()) == []
