"""streamq alone, for the budgets that compare it with itself: all those measures by name."""

from __future__ import annotations

import time
from typing import Protocol

from benchmarks.peers.measures import Found, Size
from benchmarks.peers.own_base import Open
from benchmarks.peers.own_due import due
from benchmarks.peers.own_idle import idlers, ready
from benchmarks.peers.own_load import payloads, queues, rest
from benchmarks.peers.own_long import long
from benchmarks.peers.own_scale import crowd, delayed, growth
from benchmarks.streamq_bench import import_times

BLOCKED = 20.0


class Own(Protocol):
    """A measure that needs several stages, or none; ``quick`` takes fewer and smaller ones."""

    def __call__(self, open_stage: Open, size: Size, *, quick: bool) -> Found: ...


def blocked(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """A handler holds the event loop for 20 s: how often is its job started while a second worker looks on?"""
    del size
    seconds = 2.0 if quick else BLOCKED
    with open_stage() as stage:
        stage.work()
        stage.work()
        stage.producer.ask("one", job="noop", count=100)
        stage.wait(lambda: stage.count() >= 100, "the first jobs")
        stage.producer.ask("block", number=seconds)
        stage.wait(lambda: bool(stage.told("end")), "the blocked job", limit=seconds + 30)
        time.sleep(3.0)
        return {"starts": len(stage.told("start")), "seconds": seconds}


def imports(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """What starting costs; no server."""
    del open_stage, size, quick
    return import_times()


OWN: dict[str, Own] = {
    "growth": growth, "delayed": delayed, "due": due, "crowd": crowd, "payloads": payloads, "queues": queues,
    "rest": rest, "idlers": idlers, "ready": ready, "long": long, "blocked": blocked, "imports": imports,
}  # fmt: skip
