"""streamq alone, for a long time: does memory grow in the worker or in the server?"""

from __future__ import annotations

import time

from benchmarks.peers.figures import drift
from benchmarks.peers.measures import Found, Size
from benchmarks.peers.own_base import LONG, Open, reached

WAVES = 50
WAVE = 60_000  # jobs
REST = 0.2  # seconds in which the last acknowledgements come
PER = 100_000


def long(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Run three million jobs through one queue with one worker, in waves.

    A look is taken after each wave, with nothing waiting: what is there then is what jobs leave behind, and what waits
    just then weighs nothing. The first tenth of the jobs is warm-up; growth is that from the median of the first
    to that of the last tenth of the looks after it.
    """
    del size
    waves, wave = (12, 5_000) if quick else (WAVES, WAVE)
    looks: list[tuple[int, int, int, int]] = []
    spent = 0.0
    with open_stage() as stage:
        worker = stage.work()
        for number in range(1, waves + 1):
            begun = time.monotonic()
            stage.producer.ask("fill", job="noop", count=wave)
            reached(stage, number * wave, LONG)
            spent += time.monotonic() - begun
            time.sleep(REST)
            server_rss = int(stage.server.info("memory")["used_memory_rss"])
            looks.append((number * wave, worker.resident(), stage.moment().memory, server_rss))
    found: Found = {"jobs": waves * wave, "jobs a second": waves * wave / spent, "looks": len(looks)}
    for place, what in ((1, "worker, resident"), (2, "server, data"), (3, "server, resident")):
        moved = drift([(look[0], look[place]) for look in looks])
        found[f"{what}, first tenth, MB"] = moved.first / 1e6
        found[f"{what}, last tenth, MB"] = moved.last / 1e6
        found[f"{what}, growth, %"] = moved.growth
        found[f"{what}, slope, bytes per 100,000 jobs"] = moved.slope * PER
    return found
