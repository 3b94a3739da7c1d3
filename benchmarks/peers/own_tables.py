"""streamq's own measures as Markdown: every row at every point, not only how far they are apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.peers.chart import number
from benchmarks.peers.figures import by_point

Found = Mapping[str, float]
TITLES = {
    "growth": "jobs waiting; an enqueue is awaited one by one, those of a flow come in bulk as others are drained",
    "delayed": "jobs delayed for later; 2,000 more become due at once, and are run",
    "due": "a million jobs due in the same second, one worker; a PING a millisecond from a process of its own",
    "crowd": "worker processes on one queue; a job enqueued in bulk and drained",
    "payloads": "bytes of arguments, enqueued in bulk and drained, beside a bare redis-py loop with the same bytes",
    "queues": "queues on one worker of 100 places, jobs waiting in all of them; a drained job",
    "rest": "queues on one worker that has nothing to do",
    "idlers": "workers, a job every 5 ms; what they cost by themselves is taken off",
    "ready": "start of `streamq worker app:queue` with a job waiting, median of 5",
    "imports": "start of a process",
    "long": "one queue, jobs in waves of 60,000, a look after each; the first tenth of the jobs is warm-up",
    "blocked": "a handler that blocks the event loop while a second worker looks on",
}


def alone(own: Mapping[str, Found]) -> Iterator[str]:
    """Return the tables of what was measured, in the order of `TITLES`."""
    named = {measure: own[measure] for measure in TITLES if own.get(measure)}
    if named:
        yield "\n### streamq beside itself\n\nServer CPU is INFO's, commands count those inside of scripts.\n"
    for measure, found in named.items():
        yield f"\n**{measure}**: {TITLES[measure]}.\n\n"
        yield from _measure(found)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, figures to the right."""
    lines = [head, ["---", *["---:" for _ in head[1:]]], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _measure(found: Found) -> Iterator[str]:
    rows = by_point(found)
    if rows:
        points = list(dict.fromkeys(point for values in rows.values() for point in values))
        told = [
            [f"{what}, {unit}", *[number(values[point]) if point in values else "" for point in points]]
            for (what, unit), values in rows.items()
        ]
        yield table(("", *points), told)
        return
    yield table(("", "measured"), [[name, number(value)] for name, value in found.items()])
