"""streamq alone: a million jobs due in the same second, and for how long the server answers nobody meanwhile."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.measures import WARM, Found, Size
from benchmarks.peers.own_base import LONG, Open, drain, reached, started
from benchmarks.peers.stage import LIMIT, HungError, UnsupportedError
from tests.servers import Server

COUNT = 1_000_000
TRIAL = 20_000  # jobs that tell how long the million will take
SLOW_US = 1000  # commands below this are not looked at
ENTRIES = 100_000  # of the slow log: none of those of one watch is lost
SHOWN = 3


class Watch:
    """For how long the server answered nobody inside the block: by a PING a millisecond, and by its own slow log."""

    def __init__(self, server: Server, when: str) -> None:
        self.found: Found = {}
        self._server = server
        self._when = when

    def __enter__(self) -> Self:
        for setting in (
            ("slowlog-log-slower-than", SLOW_US),
            ("slowlog-max-len", ENTRIES),
            ("latency-monitor-threshold", 1),
        ):
            self._server.command("CONFIG", "SET", *setting)
        self._server.command("SLOWLOG", "RESET")
        self._server.command("LATENCY", "RESET")
        command = [
            sys.executable,
            str(Path(__file__).with_name("probe.py")),
            str(self._server.port),
            str(self._server.pid),
        ]
        self._probe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            told, _ = self._probe.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self._probe.kill()
            self._probe.communicate()
            raise
        if kind is None:
            self._note(told)

    def _note(self, told: bytes) -> None:
        if self._probe.returncode:
            raise HungError("the probe ended by itself")
        answers: dict[str, float] = json.loads(told)
        slow = longest_first(self._server.command("SLOWLOG", "GET", ENTRIES))
        events: Sequence[Any] = self._server.command("LATENCY", "LATEST")
        for took, what in slow[:SHOWN]:
            print(f"  {took / 1e3:.1f} ms, {self._when}: {what}", file=sys.stderr)
        when = self._when
        self.found = {
            f"longest command, {when}, ms": slow[0][0] / 1e3 if slow else 0.0,
            f"commands over {SLOW_US / 1e3:g} ms, {when}": len(slow),
            f"longest event of LATENCY, {when}, ms": max((float(event[3]) for event in events), default=0.0),
            f"longest answer to PING, {when}, ms": answers["longest"] * 1e3,
            f"longest answer to PING but for waiting for a core, {when}, ms": answers["blocked"] * 1e3,
            f"p99 of PING, {when}, ms": answers["p99"] * 1e3,
            f"p50 of PING, {when}, ms": answers["p50"] * 1e3,
        }


def due(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Delay a million jobs to one second, with one worker there; look at the server while they are added, then run."""
    del size
    count = TRIAL if quick else COUNT
    with open_stage() as stage:
        trial: float = stage.producer.ask("due", job="noop", count=TRIAL, at=time.time())["seconds"]
        worker = started(stage)
        reached(stage, TRIAL + WARM)
        at = math.ceil(time.time() + 3 + 2 * trial * count / TRIAL)
        with Watch(stage.server, "while added") as adding:
            stage.producer.ask("due", job="noop", count=count, at=at, limit=LONG)
        if time.time() > at:
            raise UnsupportedError("the machine was too slow: the first were due before the last were enqueued")
        time.sleep(max(0.0, at - 1 - time.time()))
        base = stage.count()
        with Watch(stage.server, "while run") as running:
            cost = drain(stage, worker, base + count, LONG)
            elapsed = time.time() - at
    return {
        **running.found,
        **adding.found,
        "jobs": count,
        "seconds from the due time to the last job": elapsed,
        "server CPU of a job from due to done, us": cost.server,
        "worker CPU of a job, us": cost.worker,
        "commands of a job": cost.commands,
    }


def longest_first(slowlog: Sequence[Any]) -> list[tuple[int, str]]:
    """Return (microseconds, first words) of the entries of SLOWLOG GET, the longest first, but for our own looking."""
    entries = [(int(entry[2]), b" ".join(map(bytes, entry[3][:4])).decode("utf-8", "replace")) for entry in slowlog]
    return sorted((one for one in entries if not one[1].upper().startswith("SLOWLOG")), reverse=True)
