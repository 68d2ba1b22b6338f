"""What holds of every picture: whole files, plain text, the same bytes each time."""

import csv
import sys
import warnings
from xml.etree import ElementTree

import pytest

from lora_qd.dashboard.drawn_text import plain
from lora_qd.dashboard.pictures import save_pictures, save_tables
from lora_qd.errors import MissingExtraError
from lora_qd.runs.figures import Kind, Scale
from tests.dashboard import charts

PNG = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "$x^{2$",
    "\\frac{",
    "_hidden",
    "<script>alert(1)</script>",
    'a & "b" \' ]]>',
    "zero\x00bell\x07escape\x1b[31m",
    "two\nlines\r\n\tand a tab",
    "日本語 🎉 \U0010ffff",
    "right\u202eleft \u200b\ufeff",
    "lone \ud800 surrogate",
    "שלום سلام हिन्दी e\u0301",
    "",
    " ",
    "x" * 5000,
)


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def check_picture(directory, name):
    """Assert that both files are whole, and that the SVG asks for nothing."""
    png = (directory / f"{name}.png").read_bytes()
    assert png.startswith(PNG)
    assert png.endswith(b"IEND\xaeB`\x82")
    content = (directory / f"{name}.svg").read_bytes()
    assert b"<!DOCTYPE" not in content
    for element in ElementTree.fromstring(content).iter():
        assert element.tag not in (f"{SVG}script", f"{SVG}foreignObject", f"{SVG}a")
        for key, value in element.attrib.items():
            assert not key.lower().startswith("on")
            if key.endswith(("href", "src")):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert "url(" not in value.replace("url(#", "")


def texts_in(path):
    return ["".join(e.itertext()) for e in ElementTree.parse(path).iter(f"{SVG}text")]


@pytest.mark.parametrize("figure", charts.one_of_each(), ids=lambda f: f.id)
def test_every_kind_is_drawn_and_tables_are_written_only(figure, tmp_path):
    save_pictures([figure], tmp_path)
    if figure.kind is Kind.TABLE:
        assert names_in(tmp_path) == [f"{figure.id}.csv"]
    else:
        assert names_in(tmp_path) == [f"{figure.id}.{e}" for e in ("csv", "png", "svg")]
        check_picture(tmp_path, figure.id)


@pytest.mark.parametrize("figure", charts.one_of_each(), ids=lambda f: f.id)
def test_the_csv_holds_the_rows(figure, tmp_path):
    save_tables([figure], tmp_path)
    with (tmp_path / f"{figure.id}.csv").open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    assert tuple(names) == figure.columns
    assert rows == [["" if v is None else str(v) for v in row] for row in figure.rows]


EMPTY = [
    charts.figure(f.kind, f.columns, [], f.encoding, id=f.id, scales=f.scales)
    for f in charts.one_of_each()
    if f.kind is not Kind.TABLE
]
NONE_ONLY = [
    charts.figure(
        f.kind,
        f.columns,
        [(None,) * len(f.columns)] * 3,
        f.encoding,
        dimensions=f.dimensions,
        marked=(0,),
    )
    for f in charts.one_of_each()
]


@pytest.mark.parametrize("figure", EMPTY, ids=lambda f: f.id)
def test_a_figure_without_rows_says_that_there_is_nothing_yet(figure, tmp_path):
    save_pictures([figure], tmp_path)
    check_picture(tmp_path, figure.id)
    assert "nothing yet" in texts_in(tmp_path / f"{figure.id}.svg")


@pytest.mark.parametrize("figure", NONE_ONLY, ids=lambda f: f.kind)
def test_rows_of_nothing_but_gaps_are_drawn(figure, tmp_path):
    save_pictures([figure], tmp_path)
    assert (tmp_path / f"{figure.id}.csv").exists()


@pytest.mark.parametrize(
    "value", [0, -3.5, 1e300, 1e-300, pytest.param(10**400, id="huge"), float("nan")]
)
def test_every_kind_bears_rows_that_all_have_one_number(value, tmp_path):
    figures = [
        charts.figure(
            f.kind,
            f.columns,
            [[value if isinstance(v, int | float) else v for v in r] for r in f.rows],
            f.encoding,
            id=f.id,
            dimensions=f.dimensions,
        )
        for f in charts.one_of_each()
    ]
    save_pictures(figures, tmp_path)
    assert len(names_in(tmp_path)) == 3 * len(figures) - 2


def test_a_scale_without_extent_is_drawn(tmp_path):
    point = Scale("", 0.5, 0.5, 1)
    scales = {"x": point, "y": point, "value": point}
    makers = (charts.lines, charts.scatter, charts.bars, charts.parallel)
    figures = [make(scales=scales) for make in makers]
    figures += [charts.heatmap(1, scales=scales), charts.tree(scales=scales)]
    save_pictures(figures, tmp_path)
    assert len(names_in(tmp_path)) == 3 * len(figures)


def hostile_figures():
    """Every name that a chart shows is hostile."""
    for i, text in enumerate(HOSTILE):
        labels = {"group": "labels", "view": text, "title": HOSTILE[0]}
        scales = {role: Scale(text, 0, 1, 2) for role in ("x", "y", "value")}
        yield charts.heatmap(2, id=f"label-{i}", scales=scales, **labels)
    yield charts.named_heatmap(HOSTILE)
    rows = [(text, i, x) for i, text in enumerate(HOSTILE) for x in (0, 1)]
    roles = {"x": "x", "y": "n", "series": "s"}
    for kind in (Kind.LINES, Kind.SCATTER):
        yield charts.figure(kind, ("s", "n", "x"), rows, roles, title=HOSTILE[5])
    roles = {"y": "s", "x": "x", "series": "s"}
    yield charts.figure(Kind.BARS, ("s", "n", "x"), rows, roles, title=HOSTILE[3])
    rows = [(text, " ".join(HOSTILE), i) for i, text in enumerate(HOSTILE)]
    roles = {"id": "m", "parents": "p", "generation": "g", "value": "g"}
    yield charts.figure(Kind.TREE, ("m", "p", "g"), rows, roles, title=HOSTILE[7])
    rows = [(0.5,) * len(HOSTILE), (None,) * len(HOSTILE)]
    roles = {"value": HOSTILE[0]}
    yield charts.figure(Kind.PARALLEL, HOSTILE, rows, roles, dimensions=HOSTILE)


def test_hostile_names_are_drawn_as_plain_text(tmp_path):
    figures = list(hostile_figures())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_pictures(figures, tmp_path)
    for name in {figure.group or figure.id for figure in figures}:
        check_picture(tmp_path, name)
    for name in ("some-lines", "some-scatter", "some-bars", "some-tree", "labels"):
        shown = texts_in(tmp_path / f"{name}.svg")
        assert {"$x^{2$", "_hidden", "\\frac{"} <= set(shown)
        assert any(text.startswith("<script>") for text in shown)


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_is_one_short_line_of_characters_that_are_seen(text):
    shown = plain(text, 20)
    assert len(shown) <= 20
    assert shown.isprintable()
    assert plain(shown, 20) == shown


def test_a_group_is_one_picture_with_a_panel_for_each_view(tmp_path):
    save_pictures([*charts.group_of(4), charts.lines()], tmp_path)
    pictures = [name for name in names_in(tmp_path) if name.endswith(".png")]
    assert pictures == ["archive-code.png", "some-lines.png"]
    shown = texts_in(tmp_path / "archive-code.svg")
    assert {f"code and law {i}" for i in range(4)} <= set(shown)
    assert len([name for name in names_in(tmp_path) if name.endswith(".csv")]) == 5


def test_views_without_rows_stand_beside_those_that_have_some(tmp_path):
    one, two = charts.group_of(2)
    empty = charts.heatmap(id=two.id, group=two.group, view="none", marked=())
    empty = charts.figure(
        Kind.HEATMAP, empty.columns, [], empty.encoding, id=two.id, group=two.group
    )
    save_pictures([one, empty], tmp_path)
    assert "nothing yet" in texts_in(tmp_path / "archive-code.svg")


def test_the_same_figures_give_the_same_bytes(tmp_path):
    figures = [*charts.one_of_each(), *charts.group_of(3)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_pictures(figures, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_users_own_settings_of_matplotlib_neither_count_nor_change(tmp_path):
    import matplotlib

    figure = charts.lines()
    save_pictures([figure], tmp_path)
    before = (tmp_path / "some-lines.png").read_bytes()
    with matplotlib.rc_context({"font.size": 31.0, "text.parse_math": True}):
        save_pictures([figure], tmp_path)
        assert matplotlib.rcParams["font.size"] == 31.0
    assert (tmp_path / "some-lines.png").read_bytes() == before


@pytest.mark.parametrize("name", ["", "../up", "a/b", "A", "a.b", "a\n", "ä"])
def test_a_name_that_is_no_file_name_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="lower-case letters, digits and hyphens"):
        save_pictures([charts.lines(id=name)], tmp_path)
    if name:
        with pytest.raises(ValueError, match="lower-case letters, digits and hyphens"):
            save_pictures([charts.lines(group=name)], tmp_path)
    assert names_in(tmp_path) == []


def test_two_pictures_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="written once, but some-lines would be"):
        save_pictures([charts.lines(), charts.lines()], tmp_path)
    clash = [charts.lines(id="a", group="b"), charts.lines(id="b")]
    with pytest.raises(ValueError, match="written once, but b would be"):
        save_pictures(clash, tmp_path)
    assert names_in(tmp_path) == []


def test_many_series_bars_and_members_fit_into_a_picture(tmp_path):
    names = [f"a long name of a series, number {i}" for i in range(300)]
    series = charts.figure(
        Kind.LINES,
        ("s", "x", "y"),
        [(name, x, i) for i, name in enumerate(names) for x in (0, 1)],
        {"x": "x", "y": "y", "series": "s"},
        id="many-lines",
    )
    bars = charts.figure(
        Kind.BARS,
        ("s", "x"),
        [(name, i) for i, name in enumerate(names)],
        {"y": "s", "x": "x", "series": "s"},
        id="many-bars",
    )
    members = charts.tree(depth=6)
    save_pictures([series, bars, members, charts.scatter(num=5000)], tmp_path)
    for name in ("many-lines", "many-bars", "some-tree", "some-scatter"):
        check_picture(tmp_path, name)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="drawing figures needs the extra"):
        save_pictures([charts.lines()], tmp_path)
    assert names_in(tmp_path) == []
