"""streamq alone, at low load: idle workers beside the one that gets the job, and how soon a new worker is there."""

from __future__ import annotations

import statistics
import time

from benchmarks.peers.figures import at, percentile
from benchmarks.peers.measures import WARM, Found, Size
from benchmarks.peers.own_base import Open, reached, several, started
from benchmarks.peers.stage import tail

STARTS = 5
APP = """from contenders.streamq import declare

queue, _ = declare()[0]
"""


def idlers(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Server CPU of a job at low load with 1 to 100 idle workers, what they cost by themselves taken off; its start."""
    found: Found = {}
    for workers in (1, 10) if quick else (1, 10, 100):
        with open_stage() as stage:
            started(stage, PEER_WORKERS=str(workers))
            time.sleep(1 + workers / 50)
            before, begun = stage.moment(), time.monotonic()
            time.sleep(size.idle)
            after = stage.moment()
            by_itself = (after.cpu - before.cpu) / (time.monotonic() - begun)
            before, begun = stage.moment(), time.monotonic()
            stage.producer.ask("paced", count=size.samples, every=0.005)
            reached(stage, WARM + size.samples)
            after = stage.moment()
            spent = after.cpu - before.cpu - by_itself * (time.monotonic() - begun)
            waits = [float(line[0]) * 1e3 for line in stage.told("stamp")]
        point = several(workers, "worker")
        found[at("server CPU", point, "us a job")] = spent / size.samples * 1e6
        found[at("commands", point, "a job")] = (after.commands - before.commands) / size.samples
        found[at("enqueue to start, p50", point, "ms")] = percentile(waits, 0.5)
        found[at("enqueue to start, p99", point, "ms")] = percentile(waits, 0.99)
    return found


def ready(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """How long ``streamq worker app:queue`` takes from the start of its process until it has run a waiting job."""
    del size
    firsts: list[float] = []
    lines: list[float] = []
    with open_stage() as stage:
        (stage.folder / "app.py").write_text(APP)
        for number in range(2 if quick else STARTS + 1):
            stage.producer.ask("one", job="noop", count=1)
            begun = time.perf_counter()
            # Compiled files are kept, as after any installation; the first start, not counted, writes them.
            worker = stage.work(("streamq", "worker", "app:queue"), PYTHONDONTWRITEBYTECODE="")
            stage.wait(lambda here=worker: "concurrency" in tail(here.log), "its first line")  # type: ignore[misc]  # a lambda with a default
            line = time.perf_counter() - begun
            reached(stage, number + 1)
            if number:
                lines.append(line * 1e3)
                firsts.append((time.perf_counter() - begun) * 1e3)
            time.sleep(0.3)
            worker.kill()
    return {
        "from the process to its first line, ms": statistics.median(lines),
        "from the process to its first job done, ms": statistics.median(firsts),
        "the slowest start, ms": max(firsts),
    }
