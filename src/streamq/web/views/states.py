"""The states of jobs as they are shown: order, shape, meaning; and levels of health."""

from __future__ import annotations

from typing import NamedTuple

from ...info import JobInfo


class State(NamedTuple):
    """A state. ``name`` is its word, its glyph and its colour's token, too."""

    name: str
    means: str


STATES: tuple[State, ...] = (
    State("active", "a worker runs it now"),
    State("waiting", "in line, nobody has it"),
    State("retrying", "failed, waits for its next attempt"),
    State("delayed", "waits for its time"),
    State("blocked", "waits for other jobs"),
    State("parked", "no worker knows its handler"),
    State("completed", "ran to the end"),
    State("dead", "out of attempts, kept"),
    State("cancelled", "stopped on request"),
)

LISTED = ("active", "waiting", "delayed", "parked", "dead", "completed")
"""States whose jobs can be listed."""

LEVELS = ("critical", "warning", "paused", "ok")
"""Levels of health, the worst first. Paused is a decision and no fault."""


def shown(info: JobInfo) -> str:
    """Return the state to show: a delayed job that failed before is retrying."""
    state = str(info.state)
    if state == "delayed" and info.attempts:
        return "retrying"
    if state == "expired":
        return "cancelled"
    return state if any(one.name == state for one in STATES) else "waiting"


def is_over(state: str) -> bool:
    """Whether a job in this state has ended."""
    return state in {"completed", "dead", "cancelled", "expired", "unknown"}
