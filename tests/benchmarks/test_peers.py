"""The contest's arithmetic, its page and its chart. Nothing is measured here, and no contender is installed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import page
from benchmarks.peers import budgets, budgets_own, chart, figures, own_due, own_tables, tables
from benchmarks.peers.measures import MEASURES
from benchmarks.peers.own import OWN
from benchmarks.peers.own_due import longest_first
from benchmarks.peers.roster import HERE, ROSTER, USUAL
from tests.servers import StartServer

PING = "longest answer to PING but for waiting for a core"

ISSUE = (
    "streamq",
    "repid",
    "dramatiq",
    "taskiq",
    "saq",
    "arq",
    "streaq",
    "docket",
    "celery",
    "bullmq-py",
    "bullmq-node",
)


def record(contender: str, found: Mapping[str, float] | None = None, run: int = 0) -> dict[str, Any]:
    return {"contender": contender, "run": run, "measure": "drain", "figures": found or {}}


def made(*records: dict[str, Any], **own: dict[str, float]) -> dict[str, Any]:
    medians = figures.medians(records)
    return {
        "kind": "redis7",
        "quick": False,
        "server": "7.0.15",
        "python": "3.11.7",
        "cores": 2,
        "processor": "a processor",
        "commit": "abc",
        "at": "2026-01-01T00:00:00+00:00",
        "records": list(records),
        "medians": medians,
        "advantages": figures.advantages(medians),
        "own": own,
        "limits": {"1 client": 1000.0},
        "versions": {"streamq": {"redis": "8.1.0"}, "bullmq-node": {"bullmq": "6.7.0"}},
        "missing": {"arq": "no"},
    }


def drawn(picture: str) -> ET.Element:
    """Parse a picture: it must be well-formed."""
    return ET.fromstring(picture)  # noqa: S314 - we drew it


def flat(*promises: str, unit: str = "us", first: float = 50.0) -> dict[str, float]:
    """Figures that a tenth lies between."""
    points = {"little": first, "much": first * 1.1}
    return {figures.at(what, point, unit): value for what in promises for point, value in points.items()}


GOOD: dict[str, dict[str, float]] = {
    "streamq": {
        "drain": 80_000,
        "drain_cpu": 11.0,
        "drain_server": 4.5,
        "fill_server": 4,
        "bytes_waiting": 250,
        "bytes_left": 0.3,
        "five_ideal": 80,
        "five_active": 104,
        "enqueue_one": 12_000,
        "enqueue_fifty": 90_000,
        "enqueue_bulk": 120_000,
        "start_p50": 0.4,
        "start_p99": 0.9,
        "late_p50": 1.2,
        "late_p99": 3,
        "late_min": 0.1,
        "recover": 17,
        "idle_cpu": 0.3,
        "idle_calls": 0.7,
    },
    "streamq:uvloop": {"drain": 100_000, "five_ideal": 90},
    "bare": {"drain": 100_000, "drain_cpu": 6.6},
    "bare:uvloop": {"drain": 150_000},
    "bullmq-node": {"drain": 18_000, "enqueue_one": 8000, "enqueue_fifty": 40_000, "enqueue_bulk": 25_000},
    "repid": {"drain": 8600, "start_p99": 1.5},
    "celery": {"drain": 1200, "start_p99": 4.8},
}
OWN_GOOD: dict[str, dict[str, float]] = {
    "growth": flat(
        "enqueue, server CPU", "enqueue, commands", "a job in a flow, server CPU", "a job in a flow, commands"
    ),
    "delayed": flat("add one, server CPU", "add one, commands", "run a due one, server CPU", "run a due one, commands"),
    "due": {
        "longest command, while run, ms": 3.0,
        "longest answer to PING but for waiting for a core, while run, ms": 5.0,
        "longest answer to PING but for waiting for a core, while added, ms": 5.0,
        "longest answer to PING, while run, ms": 50.0,
    },
    "crowd": flat("a job, server CPU", "a job, commands"),
    "payloads": {
        figures.at(f"{what} over bare", point, "x"): value
        for what in ("server CPU", "worker CPU")
        for point, value in (("100 B", 3.0), ("100 kB", 1.5))
    },
    "queues": flat("server CPU", "worker CPU", "commands"),
    "rest": {
        **flat("calls", unit="a queue and second", first=0.7),
        figures.at("worker CPU", "1 queue", "% of a core"): 0.2,
        figures.at("worker CPU", "20 queues", "% of a core"): 0.4,
    },
    "idlers": {**flat("server CPU"), **flat("enqueue to start, p50", unit="ms", first=0.5)},
    "ready": {"from the process to its first line, ms": 280.0, "from the process to its first job done, ms": 300.0},
    "imports": {"import streamq, ms": 9.0, "streamq --help, ms": 90.0},
    "long": {"worker, resident, growth, %": 1.0, "server, data, growth, %": -2.0},
    "blocked": {"starts": 1.0},
}


def test_medians_and_ranges_are_of_the_runs_that_have_figures() -> None:
    records = [record("a", {"drain": value}, n) for n, value in enumerate((10, 50, 20))]
    records.append({"contender": "a", "run": 3, "measure": "drain", "error": "it hung"})
    assert figures.medians(records) == {"a": {"drain": 20}}
    assert figures.ranges(records) == {"a": {"drain": (10, 50)}}


def test_an_advantage_is_above_one_whichever_direction_is_better() -> None:
    assert figures.advantage("drain", 400, 100) == 4
    assert figures.advantage("drain_cpu", 10, 40) == 4
    assert figures.advantage("drain_cpu", 0, 40) is None
    found = figures.advantages({"streamq": {"drain": 90, "jobs": 5}, "arq": {"drain": 30, "jobs": 7, "five": 2}})
    assert found == {"streamq": {"drain": 1}, "arq": {"drain": 3}}


def test_the_best_peer_is_of_those_that_were_measured() -> None:
    found: figures.Medians = {"a": {"drain": 5, "start_p99": 2}, "b": {"drain": 9}, "c": {"start_p99": 1}}
    assert figures.best_peer(found, "drain", ["a", "b", "c"]) == ("b", 9)
    assert figures.best_peer(found, "start_p99", ["a", "b", "c"]) == ("c", 1)
    assert figures.best_peer(found, "late_p50", ["a"]) is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 99)])
def test_percentiles(share: float, value: float) -> None:
    assert figures.percentile([float(at) for at in reversed(range(100))], share) == value


def test_budgets_hold_and_break() -> None:
    good = made(*[record(name, found) for name, found in GOOD.items()], **OWN_GOOD)
    lines = budgets.lines(good)
    assert [line for line in lines if line.holds is not True] == []
    # Nine times as much, but for the first point of what is measured at several.
    own = {
        measure: {
            name: value * (1 if " at little," in name or " at 100 B," in name else 9) for name, value in found.items()
        }
        for measure, found in OWN_GOOD.items()
    }
    own["long"] = dict.fromkeys(own["long"], 6.0)
    slow = {name: value * 9 if not figures.FIGURES[name].more else value / 9 for name, value in GOOD["streamq"].items()}
    bad = made(*[record(name, found) for name, found in {**GOOD, "streamq": slow}.items()], **own)
    held = {line.what for line in budgets.lines(bad) if line.holds}
    assert held == {"no-op drain: of a bare redis-py loop, uvloop", "5 ms handlers, uvloop"}


def test_a_cost_may_fall_with_the_payload_but_not_rise() -> None:
    def judged(*costs: float) -> list[bool | None]:
        found = {figures.at("server CPU over bare", str(n), "x"): cost for n, cost in enumerate(costs)}
        found |= {figures.at("worker CPU over bare", str(n), "x"): 1.0 for n in range(len(costs))}
        return [
            line.holds for line in budgets_own.lines({"payloads": found}) if "server CPU of a job, 100 B" in line.what
        ]

    assert judged(3.0, 2.0, 1.1) == [True]
    assert judged(3.0, 2.0, 3.7) == [False]


def test_a_measure_that_failed_has_no_answer() -> None:
    lines = budgets_own.lines({measure: {} for measure in OWN})
    assert {line.holds for line in lines} == {None}
    assert {budget.measure for budget in budgets_own.BUDGETS} == OWN.keys() == own_tables.TITLES.keys()


def test_figures_at_points_become_rows() -> None:
    found = {figures.at("enqueue, server CPU", "10^3", "us"): 5.0, figures.at("enqueue, server CPU", "10^6", "us"): 6.0}
    assert figures.by_point({**found, "starts": 1.0}) == {("enqueue, server CPU", "us"): {"10^3": 5.0, "10^6": 6.0}}


def test_drift_leaves_the_warm_up_out_and_tells_the_slope() -> None:
    grows = [(1000.0 * n, 500.0 if n < 10 else 100.0 + n) for n in range(101)]
    found = figures.drift(grows)
    assert found.slope == pytest.approx(0.001)
    assert found.first == 114  # the median of 110 to 118
    assert found.growth == pytest.approx((196 / 114 - 1) * 100)
    assert figures.drift([(1.0, 7.0)]) == (7.0, 7.0, 0.0)


def test_the_longest_commands_come_first_and_odd_arguments_do_no_harm() -> None:
    slowlog = [[1, 0, 700, [b"EVALSHA", b"abc"], b"", b""], [2, 0, 900, [b"SET", b"\xff", b"1", b"2", b"3"], b"", b""]]
    assert longest_first(slowlog) == [(900, "SET \ufffd 1 2"), (700, "EVALSHA abc")]


def test_the_probe_sees_for_how_long_a_server_is_blocked(fresh_server: StartServer) -> None:
    server = fresh_server(tcp=True)
    with own_due.Watch(server, "then") as watch:
        server.command("DEBUG", "SLEEP", 0.05)
    found = watch.found
    assert 50 <= found["longest command, then, ms"] < 5000
    assert found["longest answer to PING, then, ms"] >= found["p50 of PING, then, ms"] > 0
    assert found["longest answer to PING, then, ms"] >= found[f"{PING}, then, ms"]


def test_a_budget_nobody_measured_is_neither_held_nor_broken() -> None:
    lines = budgets.lines(made(record("streamq")))
    assert {(line.measured, line.holds) for line in lines} == {("not measured", None)}


def test_an_early_job_breaks_the_budget_of_lateness() -> None:
    lines = budgets.lines(made(record("streamq", {"late_p50": 0.5, "late_min": -0.2})))
    assert [line.holds for line in lines if "never early" in line.promised] == [False]


def test_page_says_what_was_measured_again_at_a_later_commit() -> None:
    records = [{**record("streamq"), "commit": "a1"}, {**record("streamq"), "commit": "b2", "measure": "five"}]
    assert page.commits({"commit": "b2", "records": records}) == "a1, five at b2"
    assert page.commits({"commit": "b2", "records": [record("streamq")]}) == "b2"


def test_page_and_chart_are_written_from_the_results(tmp_path: Path) -> None:
    records = [record(name, found, run) for name, found in GOOD.items() for run in range(2)]
    records += [record("repid", {"drain": 30_000}, 2), {**record("arq"), "unsupported": "it was not there"}]
    (tmp_path / "results" / "peers").mkdir(parents=True)
    (tmp_path / "results" / "peers" / "redis7.json").write_text(json.dumps(made(*records, **OWN_GOOD)))
    (tmp_path / "results" / "flow.json").write_text("{}")  # another benchmark's: not for this page
    page.write(tmp_path / "docs", tmp_path / "results")
    text = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert "![Bars of each measure, the best first](benchmarks-redis7.svg)" in text
    assert "| no-op drain, one process: of BullMQ on Node | >= 4x | 4.44x | yes |" in text
    assert re.search(r"^\| repid \|.* 8,600 \(8,600-30,000\) ", text, re.MULTILINE)
    assert "- arq: drain: it was not there\n" in text
    assert "| enqueue, server CPU, us | 50.0 | 55.0 |\n" in text
    assert "| worker, resident, growth, % | 1.00 |\n" in text
    assert "**arq** is missing: no" in text
    assert "{" not in text.replace("{ref}", "")
    picture = drawn((tmp_path / "docs" / "benchmarks-redis7.svg").read_text())
    said = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"streamq", "repid", "80,000", "no-op drain, 1 worker process"} <= set(said)


def test_bars_are_sorted_and_none_is_longer_than_its_panel() -> None:
    results = made(*[record(name, found) for name, found in GOOD.items()])
    panels = dict(chart.panels(results))
    assert [bar.name for bar in panels["drain"]][::6] == ["bare:uvloop", "celery"]
    assert [bar.name for bar in panels["drain_cpu"]] == ["bare", "streamq"]
    picture = drawn(chart.draw(results))
    for bar in picture.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 < float(bar.attrib["width"]) <= chart.WIDTH / chart.COLUMNS
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= chart.WIDTH


def test_the_roster_is_complete() -> None:
    assert set(ISSUE) <= {ROSTER[name].base for name in USUAL}
    assert {measure for one in ROSTER.values() for measure in one.skips} <= MEASURES.keys()
    assert MEASURES.keys().isdisjoint(OWN)


@pytest.mark.parametrize("base", sorted({one.base for one in ROSTER.values()}))
def test_a_contender_is_small_pinned_and_says_its_settings(base: str) -> None:
    contender = ROSTER[base]
    folder = HERE if base == "bare" else HERE / "contenders"
    file = folder / (f"{contender.file}.mjs" if contender.is_node else f"{contender.file}.py")
    assert len(file.read_text().splitlines()) <= 125
    assert len(tables.settings(contender)) > 80
    if contender.is_node:
        pins = json.loads((HERE / "requirements" / contender.file / "package.json").read_text())["dependencies"]
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pins.values())
        return
    ast.parse(file.read_text())
    lines = (HERE / "requirements" / f"{contender.file}.txt").read_text().split()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line)] == []


def test_the_driver_explains_itself_and_refuses_what_it_does_not_know() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HERE / "run.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)

    helped = run("--help")
    assert helped.returncode == 0, helped.stderr
    assert all(name in helped.stdout for name in ("--quick", "--contenders", "bullmq-node", "recover"))
    refused = run("--contenders", "streamq,sidekiq")
    assert refused.returncode == 2
    assert "sidekiq: there are bare, bare:uvloop, streamq" in refused.stderr
