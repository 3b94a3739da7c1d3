"""All features in one queue: a delivery system whose two workers are killed and restarted, and exact accounts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from streamq import Arg, Dedup, Job, JobState, Priority
from streamq._store.keys import CATALOGUE, Keys
from streamq.errors import JobUnknown
from tests.ledger import Line
from tests.matrix.checks import ENDINGS, over
from tests.matrix.crew import Crew
from tests.matrix.delivery import DIGEST, OF_QUEUE, OF_TENANT, SENDGRID, TICKS, TWILIO, Delivery, Event
from tests.matrix.world import Book
from tests.servers import Server, ServerKind, StartServer
from tests.store.snapshot import names
from tests.worker.helpers import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

TENANTS = ("acme", "bolt", "crab")
SMS, EMAILS, EVENTS = 150, 60, 40


class Run(NamedTuple):
    """A run, by its worker's notes. ``start``, ``end``: monotonic seconds; ``taken``: ms by the server."""

    job: str
    more: dict[str, Any]
    start: float
    end: float
    taken: float


def runs_of(lines: Sequence[Line], killed: dict[int, float]) -> list[Run]:
    running: dict[tuple[int, str], Line] = {}
    runs: list[Run] = []

    def add(line: Line, until: float) -> None:
        taken = line.more["taken"]
        runs.append(Run(line.job, line.more, line.at, until, float("nan") if taken is None else taken))

    for line in sorted(lines, key=lambda one: one.at):
        if line.what == "start":
            running[line.pid, line.job] = line
        elif line.what == "end":
            add(running.pop((line.pid, line.job)), line.at)
    for (pid, _), line in running.items():
        add(line, killed[pid])
    return sorted(runs, key=lambda one: one.start)


def most_at_once(runs: Sequence[Run]) -> int:
    moments = sorted(
        [(one.start, 1) for one in runs] + [(one.end, -1) for one in runs], key=lambda one: (one[0], one[1])
    )
    most = running = 0
    for _, step in moments:
        running += step
        most = max(most, running)
    return most


class Sending:
    """What the application sends, and what it was answered."""

    def __init__(self, system: Delivery) -> None:
        self.system = system
        self.created: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.profiles: dict[str, int] = {}

    def note(self, kind: str, job: Job[Any]) -> Job[Any]:
        if job.created:
            assert job.id not in self.created
            self.created[job.id] = kind
        else:
            assert job.met in self.created
        return job

    async def first(self) -> None:
        system = self.system
        for n in range(SMS):
            tenant = TENANTS[n % 3] if n % 5 else "acme"  # a hog
            options: dict[str, Any] = {"group": tenant, "rate_key": "twilio", "tenant": tenant}
            if n % 7 == 0:
                options["delay"] = 0.3
            if n % 11 == 0:
                options["priority"] = Priority.CRITICAL
            if n % 50 == 13:
                options.pop("delay", None)
                options["expires_in"] = 0.001
            send = system.sms.with_options(**options)
            job = self.note("sms", await send.enqueue(n, f"c{n % 20}", tenant))
            again = await send.enqueue(n, f"c{n % 20}", tenant)
            assert again.id == job.id, "the same message is one job"
            if n % 50 == 17:
                assert await job.cancel()
                self.cancelled.add(job.id)

    async def second(self) -> None:
        system, queue = self.system, self.system.queue
        specs = [
            system.email.with_options(group=TENANTS[n % 3], rate_key="sendgrid", job_id=f"mail-{n}").job(
                n, TENANTS[n % 3]
            )
            for n in range(EMAILS)
        ]
        for job in await queue.enqueue_many(specs, chunk=20, every=0.2):
            self.note("email", job)
        assert not any(job.created for job in await queue.enqueue_many(specs[:5]))
        for n in range(EVENTS):
            contact = f"c{n % 4}"
            self.note("digest", await system.digest.enqueue(Event(n, contact)))
            last = Dedup(f"profile:{contact}", mode="keep_last")
            self.note("profile", await system.profile.with_options(dedup=last).enqueue(n, contact))
            self.profiles[contact] = n


@pytest.mark.parametrize(
    "kind", ["valkey", *(pytest.param(one, marks=pytest.mark.slow) for one in ("redis7", "redis8"))]
)
async def test_delivery_system(kind: ServerKind, fresh_server: StartServer, tmp_path: Path) -> None:
    server = fresh_server(kind, aof=True)
    (tmp_path / "delivery.json").write_text(json.dumps({"url": server.url, "prefix": "sys"}))
    system = Delivery(server.url, "sys", Book().note, tmp_path)
    async with system.queue:
        await play(system, server, tmp_path)


async def play(system: Delivery, server: Server, folder: Path) -> None:
    queue, keys, sending = system.queue, Keys("sys", "delivery"), Sending(system)
    with Crew(folder, module="tests.matrix.delivery") as crew:
        await crew.start("w1", "w2")
        system.down.touch()
        block = await queue.block(name="sms", where=Arg("n") < 6, reason="a look at these first")
        await queue.pause(group="crab")
        sent = asyncio.create_task(sending.first())
        await crew.kill("w1", holding=5)
        await crew.start("w1")
        await sent
        await queue.resume(group="crab")
        sent = asyncio.create_task(sending.second())
        await crew.kill("w2", holding=5)
        await crew.start("w2")
        await sent
        await until(lambda: breaker_opened(system), "the breaker opened", seconds=20)
        system.down.unlink()
        assert await block.release()
        await crew.kill("w1", holding=1)
        await crew.start("w1")

        async def drained() -> bool:
            beats = await system.scheduler.get("beat")
            assert beats is not None
            return beats.count == TICKS and not server.command("HLEN", keys.index)

        await until(drained, "everything ended", seconds=60)
        # While workers still look: alarms of limits are worked off.
        await until(lambda: not server.command("ZCARD", keys.base + b"fk"), "no alarm is left")
        await crew.stop()
        lines, killed = [*crew.lines()], crew.killed

    runs = runs_of(lines, killed)
    beats = {run.job for run in runs if run.more["handler"] == "heartbeat"}
    assert len(beats) == TICKS
    await check_ends(system, sending, beats, runs)
    check_accepted(lines)
    check_limits(runs, lines)
    latest = {run.more["contact"]: run.more["n"] for run in runs if run.more["handler"] == "profile"}
    assert latest == sending.profiles, "the last change of each profile ran last"
    await check_rest(system, server, keys)


async def breaker_opened(system: Delivery) -> bool:
    return (await system.breaker.state(system.queue)).state != "closed"


async def check_ends(system: Delivery, sending: Sending, beats: set[str], runs: Sequence[Run]) -> None:
    """Every job that was acknowledged ended exactly once, as it had to; the server's totals agree."""
    queue, ran = system.queue, {run.job: run for run in runs}
    ends: Counter[JobState] = Counter({JobState.COMPLETED: len(beats)})
    for job_id, kind in sending.created.items():
        job = await queue.job(job_id)
        state = JobState.UNKNOWN if job is None else await job.state()
        ends[state] += 1
        run = ran.get(job_id)
        n = run.more["n"] if run is not None else -1
        expected = JobState.COMPLETED
        if job_id in sending.cancelled:
            expected = JobState.CANCELLED
        elif run is None or (kind == "sms" and n % 50 == 13):
            # Who begins within the millisecond that it is good for fails in its first attempt: too late for another.
            expected = JobState.EXPIRED
        elif kind == "sms" and n % 50 == 9:
            expected = JobState.DEAD
        elif kind == "sms" and n % 50 == 11:
            expected = JobState.CANCELLED
        assert state is expected, f"{kind} {job_id} ({n}) is {state}, not {expected}"
    counts = await queue.counts()
    assert (counts.waiting, counts.active, counts.delayed, counts.parked) == (0, 0, 0, 0)
    totals = (counts.completed, counts.dead, counts.cancelled, counts.expired)
    wanted = (JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED, JobState.EXPIRED)
    assert totals == tuple(ends[state] for state in wanted)
    assert ran.keys() <= {*sending.created, *beats}, "ran without having been added"
    assert counts.stalled > 0, "no kill hit a job: the run shows nothing"


def check_accepted(lines: Sequence[Line]) -> None:
    settled = [line for line in lines if line.what == "settled"]
    ends = Counter(line.job for line in settled if line.more["answer"] == "a" and line.more["verb"] in ENDINGS)
    assert [job for job, count in ends.items() if count > 1] == []


def check_limits(runs: Sequence[Run], lines: Sequence[Line]) -> None:
    """Never above a rate in any window, never above a number of places; one message at a time for a contact."""
    starts: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.taken == run.taken:
            starts[run.more["handler"]].append(run.taken)
    assert list(over(TWILIO, sorted(starts["sms"]))) == []
    assert list(over(SENDGRID, sorted(starts["email"]))) == []
    by: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        more = run.more
        if "tenant" in more:
            by["tenant", more["tenant"]].append(run)
        if "contact" in more:
            by[more["handler"], more["contact"]].append(run)
        if more["handler"] == "heartbeat":
            by["heartbeat", ""].append(run)
    for (kind, name), several in by.items():
        most = most_at_once(several)
        assert most <= (OF_TENANT if kind == "tenant" else 1), f"{kind} {name}: {most} at once"
    assert most_at_once([run for run in runs if run.more["handler"] != "digest"]) <= OF_QUEUE
    digests = [line.more["events"] for line in lines if line.what == "digest"]
    assert max(map(len, digests)) <= DIGEST
    assert all(len({contact for _, contact in events}) == 1 for events in digests)


async def check_rest(system: Delivery, server: Server, keys: Keys) -> None:
    """Nothing is used, nothing waits, and no key is left that is not documented."""
    queue = system.queue
    for gate in await queue.limits.list():
        assert (gate.used, gate.waiting) == (0, 0), gate
    flat = server.command("HGETALL", keys.gates)
    for name, data in zip(flat[::2], flat[1::2], strict=True):
        state: list[Any] = msgspec.msgpack.decode(data)
        used, waiting, _, parked, envoy = state[:5]
        assert (used, waiting, parked, envoy) == (0, 0, 0, False), name
    some = await queue.job("mail-1")
    assert some is not None
    assert "completed" in str(await queue.explain(some.id))
    with pytest.raises(JobUnknown):
        await Job(queue, "nobody").info()
    documented = {suffix for one in CATALOGUE for suffix in spelt(one.suffix)}
    left = {name.partition(":")[0] for name in names(server, keys)}
    assert left <= documented
    of_jobs = {"d", "b", "p", "c", "wt", "f", "fl", "fp", "f0", "f1", "f2", "f3", "f4"}
    assert left & of_jobs == set(), "what belongs to unsettled jobs goes with them"


def spelt(suffix: str) -> list[str]:
    """The names a row of the catalogue stands for: "f0 .. f4" are five, "r:<id>" begins with "r"."""
    first, several, last = suffix.partition(" .. ")
    if several:
        return [f"{first[:-1]}{n}" for n in range(int(first[-1]), int(last[-1]) + 1)]
    return [suffix.partition(":")[0]]
