"""The page of what is monitored names nothing that is not there: methods, options, paths, commands, metrics."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from starlette.routing import Route

import streamq
from streamq import AlertRule, HealthPolicy, JobInfo, Queue
from streamq.web import Dashboard
from streamq.web.rest import routes
from tests.docs.pages import ROOT
from tests.docs.test_commands import resolve

PAGE = ROOT / "docs" / "explanation" / "monitoring-checklist.md"
HERE = [row.split(" | ", 1)[1] for row in PAGE.read_text("utf-8").splitlines() if row.startswith("| ") and " | " in row]
"""The right column of every table."""

SAID = [code for row in HERE for code in re.findall(r"`([^`]+)`", row)]

COMMANDS = sorted({one for one in SAID if one.startswith("streamq ")})

PATHS = sorted({path for one in SAID if (path := one.removeprefix("GET ")).startswith("/")})


def test_every_row_says_where_it_is() -> None:
    assert len(HERE) > 60
    assert [row for row in HERE if not row.strip(" |")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    resolve(shlex.split(command)[1:])


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_served(path: str) -> None:
    served = {
        re.sub(r":\w+\}", "}", route.path) for route in routes(Dashboard(Queue("q")).site) if isinstance(route, Route)
    }
    assert path in served


def methods(name: str) -> set[str]:
    return set(re.findall(rf"\b{name}\.(\w+)", " ".join(SAID)))


def test_methods_of_a_queue_and_its_dead_letters_exist() -> None:
    queue: Any = Queue("q")
    assert len(methods("queue")) > 8
    assert [one for one in methods("queue") if not hasattr(queue, one)] == []
    assert [one for one in methods("dlq") if not hasattr(queue.dlq, one)] == []
    assert [one for one in methods("job") if not hasattr(streamq.Job, one)] == []


def test_rules_and_policies_can_be_made() -> None:
    names = {"AlertRule": AlertRule, "HealthPolicy": HealthPolicy}
    made = [one for one in SAID if one.startswith(tuple(names)) and "..." not in one]
    assert len(made) > 6
    for one in made:
        eval(one, names)  # noqa: S307 - our own page


def test_fields_of_a_job_exist() -> None:
    assert {"attempts", "created_at", "due_at", "finished_at"} <= set(JobInfo.__struct_fields__)
    row = next(row for row in HERE if row.startswith("`JobInfo`"))
    assert set(re.findall(r"`([a-z_]+)`", row)) <= set(JobInfo.__struct_fields__)


def test_options_of_the_dashboard_exist() -> None:
    options = set(re.findall(r"Dashboard\((\w+)=", " ".join(SAID)))
    assert options == {"access", "submit_rate"}
    given: dict[str, Any] = dict.fromkeys(options)
    Dashboard(Queue("q"), **given)
