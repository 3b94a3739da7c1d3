"""The text of metrics, and that dashboards and alert rules name those there are: all of them, and no others."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq._core.metrics import CATALOGUE, COUNTED, Exposition, wants_openmetrics
from streamq._core.report import Slots
from streamq._core.stats import StatRow
from streamq._core.tally import RUNS, WAIT
from tests.scrape import families

ROOT = Path(__file__).parents[2]
GRAFANA = resources.files("streamq").joinpath("grafana")
RULES = GRAFANA.joinpath("alerts.yml").read_text("utf-8")


def sample() -> Exposition:
    """One of everything."""
    page = Exposition()
    for metric in CATALOGUE:
        labels = dict.fromkeys(metric.labels, "x")
        if metric.kind == "histogram":
            slots = Slots().add({WAIT: 3_000_000, WAIT + 1: 2, WAIT + 11: 1, WAIT + 22: 1})
            page.observe(metric.name, slots.histogram(WAIT), **labels)
        else:
            page.add(metric.name, 5, **labels)
    return page


def parsed(text: str, *, as_openmetrics: bool = False) -> dict[str, Any]:
    return {family.name: family for family in families(text, as_openmetrics=as_openmetrics)}


@pytest.mark.parametrize("as_openmetrics", [False, True])
def test_everything_is_read_by_prometheus_own_parser(*, as_openmetrics: bool) -> None:
    found = parsed(sample().text(openmetrics=as_openmetrics), as_openmetrics=as_openmetrics)
    assert len(found) == len(CATALOGUE)
    for metric in CATALOGUE:
        family = found[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        assert labels == set(metric.labels)
        assert {one.name for one in family.samples} == set(metric.series)


def test_buckets_are_cumulative_in_seconds_and_end_with_infinity() -> None:
    family = parsed(sample().text())["streamq_job_wait_seconds"]
    buckets = [(one.labels["le"], one.value) for one in family.samples if one.name.endswith("_bucket")]
    assert buckets[0] == ("0.001", 2)
    assert dict(buckets)["2.0"] == 3
    assert buckets[-2:] == [("5000.0", 3), ("+Inf", 4)]
    values = [value for _, value in buckets]
    assert values == sorted(values)
    rest = {one.name.rpartition("_")[2]: one.value for one in family.samples if not one.name.endswith("_bucket")}
    assert rest == {"sum": 3.0, "count": 4}


@given(text=st.text(st.characters(codec="utf-8"), max_size=40), as_openmetrics=st.booleans())
def test_a_label_may_hold_any_text(*, text: str, as_openmetrics: bool) -> None:
    page = Exposition()
    page.add("streamq_up", 1, queue=text)
    [one] = parsed(page.text(openmetrics=as_openmetrics), as_openmetrics=as_openmetrics)["streamq_up"].samples
    assert one.labels == {"queue": text}


def test_what_is_in_no_catalogue_cannot_be_added() -> None:
    with pytest.raises(KeyError):
        Exposition().add("streamq_surprise", 1)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text; q=nonsense", False),
        (";;,=,q=", False),
    ],
)
def test_who_asks_for_openmetrics_gets_it(accept: str, *, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


def test_names_keep_the_rules_of_prometheus() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"streamq_[a-z_]+[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert not metric.help.endswith(".")
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)


def test_every_counter_by_handler_is_a_field_of_a_row() -> None:
    counters = {metric.name for metric in CATALOGUE if metric.kind == "counter" and "handler" in metric.labels}
    assert counters == COUNTED.keys()
    assert set(COUNTED.values()) <= set(StatRow.__struct_fields__)
    [run] = [metric for metric in CATALOGUE if "outcome" in metric.labels]
    assert run.help.endswith(", ".join(RUNS))


# -- dashboards and rules ----------------------------------------------------------------------------------------------


def dashboards() -> dict[str, Any]:
    return {one.name: json.loads(one.read_text("utf-8")) for one in GRAFANA.iterdir() if one.name.endswith(".json")}


def queries() -> list[str]:
    """Every expression of dashboards and rules, and what variables ask."""
    found = [target["expr"] for board in dashboards().values() for one in board["panels"] for target in one["targets"]]
    found += [one["query"] for board in dashboards().values() for one in board["templating"]["list"]]
    return [*found, *re.findall(r"expr: (?:\|\n)?((?:.+\n)(?: {12,}.+\n)*)", RULES)]


def named(text: str) -> set[str]:
    """Series named in queries; those that rules record have colons."""
    return {name for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", text) if name.startswith("streamq_")}


def test_every_metric_named_is_one_there_is() -> None:
    series = {name for metric in CATALOGUE for name in metric.series}
    assert named("\n".join(queries())) - series == set()
    recorded = set(re.findall(r"record: (\S+)", RULES))
    assert set(re.findall(r"streamq:[\w:]+", "\n".join(queries()))) <= recorded
    assert recorded


def test_every_metric_there_is_is_shown_or_alerted_on() -> None:
    used = named("\n".join(queries()))
    assert [metric.name for metric in CATALOGUE if not used & set(metric.series)] == []


def test_labels_named_in_queries_are_those_of_the_metrics() -> None:
    known = {label for metric in CATALOGUE for label in metric.labels} | {"le"}
    text = "\n".join(queries())
    assert set(re.findall(r"[{,]\s*(\w+)=~?\"", text)) <= known
    for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", text):
        assert {label.strip() for label in listed.split(",")} <= known


def test_dashboards_are_what_the_tool_writes() -> None:
    spec = importlib.util.spec_from_file_location("make_dashboards", ROOT / "tools" / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written: dict[str, str] = module.written()
    stale = [name for name, text in written.items() if GRAFANA.joinpath(name).read_text("utf-8") != text]
    assert stale == [], "run: python tools/make_dashboards.py"
    assert written.keys() == dashboards().keys()


def test_panels_do_not_overlap_and_have_names_of_their_own() -> None:
    for board in dashboards().values():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= 24
            taken |= cells
        titles = [panel["title"] for panel in board["panels"]]
        assert len(set(titles)) == len(titles)
    assert len({board["uid"] for board in dashboards().values()}) == len(dashboards())


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)\n((?:        .*\n|          .*\n)+)", RULES)
    assert len(alerts) == RULES.count("- alert:") >= 10
    for name, body in alerts:
        assert re.search(r"severity: (warning|critical)", body), name
        assert "summary:" in body, name
        assert "description:" in body, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's package prometheus")
def test_promtool_takes_rules_and_metrics(tmp_path: Path) -> None:
    rules = tmp_path / "alerts.yml"
    rules.write_text(RULES, "utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=sample().text(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
