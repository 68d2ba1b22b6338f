"""Figures that never were: one or more of each kind."""

import numpy as np

from lora_qd.runs.figures import Figure, Kind, Scale


def figure(kind, columns, rows, encoding, /, **changes):
    fields = {
        "id": f"some-{kind}",
        "section": "Some",
        "title": f"Some {kind}",
        "summary": "Made up.",
        "kind": kind,
        "columns": columns,
        "rows": rows,
        "encoding": encoding,
    }
    return Figure(**fields | changes)


def lines(num=60, **changes):
    rows = [
        (f"curve {c}", i, None if i % 17 == 16 else y, y - 0.05, y + 0.04)
        for c in range(3)
        for i in range(num)
        for y in (round(0.2 * (c + 1) + 0.3 * (1 - np.exp(-i / 20)), 4),)
    ]
    columns = ("curve", "child", "y", "low", "high")
    roles = {"x": "child", "y": "y", "series": "curve", "low": "low", "high": "high"}
    scales = {"x": Scale("members scored"), "y": Scale("coverage", 0.0, 1.0)}
    return figure(Kind.LINES, columns, rows, roles, **{"scales": scales} | changes)


def scatter(num=120, **changes):
    rng = np.random.default_rng(1)
    kinds = ("bred", "expert", "static merge")
    points = rng.beta(5, 4, (num, 2)).round(4).tolist()
    rows = [(kinds[i % 3], x, y) for i, (x, y) in enumerate(points)]
    roles = {"x": "code", "y": "law", "series": "kind"}
    scales = {"x": Scale("code score"), "y": Scale("law score")}
    marked = (num - 1,) if num else ()
    changes = {"scales": scales, "marked": marked} | changes
    return figure(Kind.SCATTER, ("kind", "code", "law"), rows, roles, **changes)


def heatmap(num_cells=10, **changes):
    rng = np.random.default_rng(2)
    rows = [
        (x, y, round(float(rng.uniform()), 3))
        for x in range(num_cells)
        for y in range(num_cells)
        if rng.uniform() < 0.6
    ]
    scales = {
        "x": Scale("code score", 0.2, 0.8, num_cells),
        "y": Scale("law score", 0.0, 1.0, num_cells),
        "value": Scale("shell score", 0.0, 1.0),
    }
    marked = (max(range(len(rows)), key=lambda i: rows[i][2]),) if rows else ()
    roles = {"x": "column", "y": "row", "value": "score"}
    changes = {"scales": scales, "marked": marked} | changes
    return figure(Kind.HEATMAP, ("column", "row", "score"), rows, roles, **changes)


def named_heatmap(names=("code", "database", "shell"), **changes):
    rows = [
        (i, j, 1.0 if i == j else round(0.1 * (i + j), 2))
        for i in range(len(names))
        for j in range(len(names))
    ]
    scales = {
        "x": Scale("", names=names),
        "y": Scale("", names=names),
        "value": Scale("similarity", 0.0, 1.0),
    }
    roles = {"x": "column", "y": "row", "value": "score"}
    changes = {"id": "some-names", "scales": scales} | changes
    return figure(Kind.HEATMAP, ("column", "row", "score"), rows, roles, **changes)


def bars(**changes):
    rows = [
        (f"{who} · {split}", split, m, m - 0.06, m + 0.05)
        for i, who in enumerate(("base", "best expert", "balanced"))
        for j, split in enumerate(("search", "validation", "test"))
        for m in (round(0.4 + 0.15 * i - 0.04 * j, 3),)
    ]
    roles = {"y": "who", "x": "mean", "low": "low", "high": "high", "series": "split"}
    scales = {"x": Scale("mean score", 0.0, 1.0)}
    columns = ("who", "split", "mean", "low", "high")
    return figure(Kind.BARS, columns, rows, roles, **{"scales": scales} | changes)


def stacked_bars(**changes):
    rows = [
        (split, stage, None if (i, j) == (2, 1) else 12.0 / (i + j + 1))
        for i, split in enumerate(("search", "validation", "test"))
        for j, stage in enumerate(("breed", "load", "generate", "score"))
    ]
    roles = {"y": "split", "x": "minutes", "series": "stage"}
    changes = {"id": "some-stacks", "scales": {"x": Scale("minutes")}} | changes
    return figure(Kind.BARS, ("split", "stage", "minutes"), rows, roles, **changes)


def parallel(num=200, num_skills=5, **changes):
    skills = ("code", "database", "shell", "law", "maths", "poetry", "sql", "travel")
    skills = skills[:num_skills]
    scores = np.random.default_rng(3).beta(5, 4, (num, num_skills)).round(4)
    rows = [tuple(row) for row in sorted(scores.tolist())]
    changes = {
        "dimensions": skills,
        "scales": {"value": Scale("code score", 0.0, 1.0)},
    } | changes
    return figure(Kind.PARALLEL, skills, rows, {"value": "code"}, **changes)


def tree(depth=4, **changes):
    rows = [("09999-0123456789ab", "00000-a 00001-a", 0, 0.7)]
    for layer in range(1, depth + 1):
        for i in range(2**layer):
            parents = f"{layer + 1:02d}{2 * i:03d}-a {layer + 1:02d}{2 * i + 1:03d}-a"
            name = f"{layer:02d}{i:03d}-a" if layer > 1 else f"0000{i}-a"
            if layer == depth:
                name, parents = f"{layer:02d}{i:03d}-a", ""
            rows.append((name, parents, layer, 0.7 - 0.1 * layer + 0.01 * i))
    roles = {
        "id": "member",
        "parents": "parents",
        "generation": "generation",
        "value": "mean",
    }
    columns = ("member", "parents", "generation", "mean")
    changes = {"scales": {"value": Scale("mean score", 0.0, 1.0)}} | changes
    return figure(Kind.TREE, columns, rows, roles, **changes)


def table(**changes):
    rows = [("seed", "1"), ("versions.torch", "2.13.0")]
    return figure(Kind.TABLE, ("entry", "value"), rows, {}, **changes)


def one_of_each():
    drawings = [lines, scatter, heatmap, named_heatmap, bars, stacked_bars]
    return [make() for make in (*drawings, parallel, tree, table)]


def group_of(num, name="archive-code"):
    """An archive's heatmaps over each pair of its measures."""
    return [
        heatmap(id=f"{name}-{i}", group=name, title="code", view=f"code and law {i}")
        for i in range(num)
    ]
