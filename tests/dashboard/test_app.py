"""The live page's server: what it tells, and whom it refuses."""

import json

import httpx
import pytest

from tests.dashboard.live import serving
from tests.dashboard.made_up import MadeUpRun

EVIL = "</script><script>alert(1)</script>\x00\x1b[31m\u202e"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    path = tmp_path_factory.mktemp("app") / "run"
    run = MadeUpRun(path, budget=22, answer=EVIL).add(30).finish()
    with serving(run) as (url, _):
        yield url


@pytest.fixture(scope="module")
def charts(live):
    """The charts by id, as a page is first sent them."""
    with httpx.stream("GET", f"{live}/events", trust_env=False) as stream:
        line = next(each for each in stream.iter_lines() if each.startswith("data: "))
    figures = json.loads(line.removeprefix("data: "))["figures"]
    return {figure["id"]: figure for figure in figures}


def ask(live, path, **headers):
    return httpx.get(f"{live}{path}", headers=headers, trust_env=False)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost:1", ""]
)
def test_another_hosts_name_is_refused(live, host):
    answer = ask(live, "/", host=host)
    assert answer.status_code in {400, 403}
    assert "run" not in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
@pytest.mark.parametrize("path", ["/", "/events", "/members/expert-code"])
def test_another_pages_request_is_refused(live, path, origin):
    answer = ask(live, path, origin=origin)
    assert answer.status_code == 403
    assert "from its own page" in answer.text


def test_its_own_page_and_localhost_are_answered(live):
    port = live.rpartition(":")[2]
    assert ask(live, "/", host=f"localhost:{port}").status_code == 200
    assert ask(live, "/members/expert-code", origin=live).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/events", "/members/expert-code"])
def test_nothing_can_be_changed(live, path, method):
    answer = httpx.request(method, f"{live}{path}", trust_env=False)
    assert answer.status_code == 405


@pytest.mark.parametrize("path", ["/", "/style.css", "/nothing", "/members/nobody"])
def test_every_answer_carries_the_policy(live, path):
    headers = ask(live, path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/../ledger.sqlite",
        "/%2e%2e/ledger.sqlite",
        "/page.html",
        "/ledger.sqlite",
    ],
)
def test_no_file_but_the_pages_own_is_sent(live, path):
    assert ask(live, path).status_code in {403, 404}


def test_a_member_tells_scores_parents_and_commands(live, charts):
    archive = charts["archive-code"]
    best = archive["rows"][archive["marked"][0]][-1]
    told = ask(live, f"/members/{best}").json()
    assert told["id"] == best
    assert set(told["scores"]) == {"code", "database", "shell"}
    assert "code" in told["archives"]
    assert told["commands"]["export"].startswith("loraqd export ")
    assert set(told["splits"]["search"]) == {"code", "database", "shell"}


def test_a_stranger_is_not_found(live):
    answer = ask(live, "/members/nobody")
    assert answer.status_code == 404
    assert "no member" in answer.json()["error"]


def test_answers_come_sample_by_sample_the_wrong_ones_first(live):
    path = "/members/expert-code/samples?split=search&skill=code"
    told = ask(live, path).json()
    scores = [sample["score"] for sample in told["samples"]]
    assert scores == sorted(scores)
    assert {sample["answer"] for sample in told["samples"]} == {EVIL}
    assert all(sample["prompt"] is None for sample in told["samples"])


@pytest.mark.parametrize("query", ["", "?split=nothing&skill=code", "?skill=code"])
def test_a_split_that_is_none_is_not_found(live, query):
    answer = ask(live, f"/members/expert-code/samples{query}")
    assert answer.status_code == 404
    assert "expected a split out of" in answer.json()["error"]


def test_a_skill_that_is_none_has_no_samples(live):
    path = "/members/expert-code/samples?split=search&skill=nothing"
    assert ask(live, path).json()["samples"] == []


def test_news_come_as_events(tmp_path):
    run = MadeUpRun(tmp_path / "run").add(30)
    with (
        serving(run) as (url, _),
        httpx.stream("GET", f"{url}/events", trust_env=False, timeout=20) as stream,
    ):
        updates = (
            json.loads(line.removeprefix("data: "))
            for line in stream.iter_lines()
            if line.startswith("data: ")
        )
        first = next(updates)
        run.add(5)
        assert ["Children", "22 of 10,000"] in first["facts"]
        while ["Children", "27 of 10,000"] not in (told := next(updates))["facts"]:
            pass
        assert any(figure["id"] == "operators" for figure in told["figures"])
