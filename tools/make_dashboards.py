"""Write src/streamq/grafana: the Grafana dashboards that the wheel carries.

``python tools/make_dashboards.py`` writes them; with ``--check`` it only says which ones are out of date. A test
asserts that the committed files are what this writes, and that they name every metric there is and no other.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "src" / "streamq" / "grafana"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24


class Panel(NamedTuple):
    """A panel: title, unit, queries with their legends; ``wide`` in 24ths of the page, ``tall`` in rows."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    wide: int = 8
    tall: int = 8
    stacked: bool = False
    about: str = ""


def rate(metric: str, by: str) -> str:
    """Return the query for so many a second."""
    return f'sum by ({by}) (rate({metric}{{queue=~"$queue"}}[$__rate_interval]))'


def quantile(part: float, metric: str, by: str) -> str:
    """Return the query for a quantile of a histogram."""
    inner = f'sum by (le, {by}) (rate({metric}_bucket{{queue=~"$queue"}}[$__rate_interval]))'
    return f"histogram_quantile({part}, {inner})"


def of(metric: str) -> str:
    """Return the query for a metric of the chosen queues."""
    return f'{metric}{{queue=~"$queue"}}'


FAILING = (
    "sum by (queue) (rate(streamq_attempts_failed_total[$__rate_interval])) / "
    "(sum by (queue) (rate(streamq_attempts_failed_total[$__rate_interval])) + "
    "sum by (queue) (rate(streamq_jobs_completed_total[$__rate_interval])))"
)

OVERVIEW = (
    Panel(
        "Servers that answer", "none",
        (("min(streamq_up)", ""),), "stat", 4, 4,
        about="0: of one queue nothing is known, its server does not answer.",
    ),
    Panel("Jobs waiting", "short", (('sum(streamq_queue_jobs{state="waiting"})', ""),), "stat", 4, 4),
    Panel("Dead letters", "short", (('sum(streamq_queue_jobs{state="dead"})', ""),), "stat", 4, 4),
    Panel("Oldest job has waited", "s", (("max(streamq_queue_oldest_seconds)", ""),), "stat", 4, 4),
    Panel("Workers", "short", (("sum(streamq_workers)", ""),), "stat", 4, 4),
    Panel("Version", "none", (("count by (version) (streamq_build_info)", "{{version}}"),), "stat", 4, 4),
    Panel("Waiting, by queue", "short", (('streamq_queue_jobs{state="waiting"}', "{{queue}}"),), wide=12),
    Panel("Oldest waiting job, by queue", "s", (("streamq_queue_oldest_seconds", "{{queue}}"),), wide=12),
    Panel("Arriving", "ops", (("sum by (queue) (rate(streamq_jobs_arrived_total[$__rate_interval]))", "{{queue}}"),)),
    Panel(
        "Completing", "ops",
        (("sum by (queue) (rate(streamq_jobs_completed_total[$__rate_interval]))", "{{queue}}"),),
    ),
    Panel(
        "Part of attempts that fail", "percentunit",
        ((FAILING, "{{queue}}"),),
    ),
    Panel(
        "Wait, 95 %", "s",
        ((
            "histogram_quantile(0.95, sum by (le, queue) (rate(streamq_job_wait_seconds_bucket[$__rate_interval])))",
            "{{queue}}",
        ),),
    ),
    Panel(
        "Slots busy", "percentunit", (("streamq_worker_slots_busy / (streamq_worker_slots > 0)", "{{queue}}"),),
    ),
    Panel("Paused", "none", (("streamq_queue_paused", "{{queue}}"),)),
)  # fmt: skip

QUEUE = (
    Panel("Jobs, by state", "short", ((of("streamq_queue_jobs"), "{{queue}} {{state}}"),), wide=12),
    Panel(
        "In and out", "ops",
        (
            (rate("streamq_jobs_arrived_total", "queue"), "arrived"),
            (rate("streamq_jobs_completed_total", "queue"), "completed"),
            (rate("streamq_attempts_failed_total", "queue"), "failed attempts"),
        ),
        wide=12,
    ),
    Panel(
        "Wait before an attempt", "s",
        tuple((quantile(part, "streamq_job_wait_seconds", "queue"), f"p{100 * part:g}") for part in (0.5, 0.95, 0.99)),
    ),
    Panel("Run, 95 %, by handler", "s", ((quantile(0.95, "streamq_job_run_seconds", "handler"), "{{handler}}"),)),
    Panel(
        "Runs, by outcome", "ops", ((rate("streamq_job_run_seconds_count", "outcome"), "{{outcome}}"),), stacked=True,
    ),
    Panel(
        "Mean run, by handler", "s",
        ((
            f"{rate('streamq_job_run_seconds_sum', 'handler')} / {rate('streamq_job_run_seconds_count', 'handler')}",
            "{{handler}}",
        ),),
    ),
    Panel(
        "Mean wait, by handler", "s",
        ((
            f"{rate('streamq_job_wait_seconds_sum', 'handler')} / {rate('streamq_job_wait_seconds_count', 'handler')}",
            "{{handler}}",
        ),),
    ),
    Panel(
        "Completing, by handler", "ops", ((rate("streamq_jobs_completed_total", "handler"), "{{handler}}"),),
        stacked=True,
    ),
    Panel(
        "Attempts that led to another", "ops",
        (
            (rate("streamq_jobs_retried_total", "queue"), "retried"),
            (rate("streamq_jobs_snoozed_total", "queue"), "snoozed"),
            (rate("streamq_jobs_limited_total", "queue"), "limited"),
            (rate("streamq_jobs_reclaimed_total", "queue"), "reclaimed"),
        ),
    ),
    Panel(
        "Jobs that ended badly", "ops",
        (
            (rate("streamq_jobs_dead_total", "queue"), "dead"),
            (rate("streamq_jobs_cancelled_total", "queue"), "cancelled"),
            (rate("streamq_jobs_expired_total", "queue"), "expired"),
            (rate("streamq_jobs_replayed_total", "queue"), "replayed"),
        ),
    ),
    Panel(
        "Jobs not added", "ops",
        (
            (rate("streamq_jobs_deduplicated_total", "queue"), "deduplicated"),
            (rate("streamq_jobs_dropped_total", "queue"), "dropped by a limit"),
        ),
    ),
    Panel(
        "Slots", "short",
        (
            (of("streamq_worker_slots"), "slots"),
            (of("streamq_worker_slots_busy"), "busy"),
            (of("streamq_workers"), "workers"),
        ),
    ),
    Panel(
        "Due and not handed on", "short", ((of("streamq_queue_due_jobs"), "{{queue}}"),),
        about="More than a few for long: no worker promotes delayed jobs.",
    ),
    Panel(
        "Schedules", "short",
        (
            (of("streamq_schedules"), "schedules"),
            (of("streamq_schedule_overdue_seconds"), "seconds overdue"),
            ('increase(streamq_schedule_missed_total{queue=~"$queue"}[1h])', "missed in an hour"),
        ),
    ),
)  # fmt: skip


def dashboard(uid: str, title: str, panels: tuple[Panel, ...], *, chooses: bool) -> dict[str, Any]:
    """Return a dashboard; ``chooses``: it has a variable for the queue."""
    variables: list[dict[str, Any]] = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    ]
    if chooses:
        query = "label_values(streamq_up, queue)"
        variables.append({
            "name": "queue", "label": "Queue", "type": "query", "datasource": SOURCE, "query": query,
            "definition": query, "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*", "sort": 1,
        })  # fmt: skip
    return {
        "uid": uid,
        "title": title,
        "tags": ["streamq"],
        "schemaVersion": 39,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": _placed(panels),
    }


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    x = y = row = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.wide > WIDTH:
            x, y, row = 0, y + row, 0
        placed.append(_panel(number, panel, {"x": x, "y": y, "w": panel.wide, "h": panel.tall}))
        x, row = x + panel.wide, max(row, panel.tall)
    return placed


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 10}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {**defaults, "custom": custom} if panel.kind == "timeseries" else defaults,
            "overrides": [],
        },
        "targets": [
            {"refId": chr(65 + at), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }


def written() -> dict[str, str]:
    """Return every dashboard by file name, as it must be."""
    made = {
        "overview.json": dashboard("streamq-overview", "streamq: overview", OVERVIEW, chooses=False),
        "queue.json": dashboard("streamq-queue", "streamq: queue", QUEUE, chooses=True),
    }
    return {name: json.dumps(found, indent=2) + "\n" for name, found in made.items()}


def main() -> int:
    """Write the dashboards, or with ``--check`` say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; the exit status tells")
    only_check: bool = parser.parse_args().check
    stale = 0
    for name, text in written().items():
        path = FOLDER / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{'out of date' if only_check else 'written'}: src/streamq/grafana/{name}")
        if not only_check:
            path.write_text(text, "utf-8")
    return stale if only_check else 0


if __name__ == "__main__":
    sys.exit(main())
