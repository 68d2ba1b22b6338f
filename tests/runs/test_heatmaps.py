"""Pictures of archives of two to four skills."""

import pytest

from lora_qd.archive import Axis, GridArchive
from lora_qd.runs.heatmaps import save_heatmaps


@pytest.mark.parametrize("num_tasks", [2, 3, 4])
def test_archives_of_any_number_of_skills_are_drawn(tmp_path, num_tasks):
    names = [f"skill{i}" for i in range(num_tasks)]
    archives = {}
    for name in names:
        others = [Axis(n, 0.2, 0.9, 15) for n in names if n != name]
        archives[name] = GridArchive(name, others)
        archives[name].add("a", dict.fromkeys(names, 0.5))
    save_heatmaps(archives, tmp_path / "archives.png")
    assert (tmp_path / "archives.png").read_bytes().startswith(b"\x89PNG")


def test_empty_archives_are_drawn(tmp_path):
    archive = GridArchive("a", [Axis("b", 0.0, 1.0, 5), Axis("c", 0.0, 1.0, 5)])
    save_heatmaps({"a": archive}, tmp_path / "archives.png")
    assert (tmp_path / "archives.png").stat().st_size > 1000
