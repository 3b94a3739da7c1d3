"""People at work in a world: they cancel, pause, block, replay, change priorities, declare schedules, and verify."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from streamq import Arg, Priority
from streamq.errors import ScheduleUnknown, StreamqError
from streamq.verify import Verification
from tests.simulation.app import PERIOD, WORK
from tests.simulation.scenarios import STORM

if TYPE_CHECKING:
    from tests.simulation.world import World

SCHEDULE: Final = "tick"

FADING: Final = frozenset({"consumer-stray", "heartbeat-stray", "memo-stray"})
"""Findings about workers that died; the next ticks of others take these traces away."""

TRIES: Final = 30


class Desk:
    """What people do, by the features of the plan. In the storm it may fail; afterwards it must not."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plan = world.plan
        self.book = world.book
        self.app = world.desk.app
        self.queue = world.desk.app.queue
        self._random = random.Random(f"desk {world.plan.seed}")

    async def work(self) -> None:
        """Be at work until the storm is over."""
        if self.plan.has("schedules"):
            await self._surely(self._declare)
        while self.book.now < STORM:
            await asyncio.sleep(self._random.uniform(0.3, 1.5))
            await self._act()

    async def _act(self) -> None:
        plan, queue = self.plan, self.queue
        if plan.has("cancels"):
            await self._try("cancels", self._cancel())
        if plan.has("replays"):
            self.world.mended = self.book.now > STORM / 2
            if self.world.mended:
                await self._try("replays", self._replay())
        if plan.has("breaker") and self.book.now > STORM / 2:
            self.world.mended = True
        if plan.has("pauses"):
            handler = WORK if self._random.random() < 0.5 else None
            opens = self._random.random() < 0.6
            what = queue.resume(handler=handler) if opens else queue.pause(handler=handler)
            await self._try(f"{'resumes' if opens else 'pauses'} {handler or 'the queue'}", what)
        for feature, words, act in (
            ("blocks", "blocks or releases", self._block),
            ("priority-changes", "changes a priority", self._reprioritise),
            ("audits", "verifies", self._audit),
            ("reports", "reads a report", self._report),
        ):
            if plan.has(feature):
                await self._try(words, act())
        if self._random.random() < 0.3:
            await self._try("looks", self._look())

    async def _try(self, what: str, work: Awaitable[Any]) -> None:
        self.book.note("desk", what)
        try:
            await work
        except StreamqError as problem:
            self.book.note("desk", "could not", "", repr(problem)[:100])

    async def _surely(self, act: Any) -> None:
        for _ in range(TRIES):
            try:
                await act()
            except StreamqError as problem:
                self.book.note("desk", "tries again", "", repr(problem)[:100])
                await asyncio.sleep(0.5)
            else:
                return
        raise AssertionError(f"{act} does not succeed")

    # -- what can be done ------------------------------------------------------------------------------

    def _somebody(self) -> str | None:
        known = sorted(self.world.state.rows)
        return self._random.choice(known) if known else None

    async def _cancel(self) -> None:
        job_id = self._somebody()
        job = await self.queue.job(job_id) if job_id else None
        if job is not None:
            self.book.note("desk", "cancels", job.id)
            self.book.note("desk", "was told", job.id, str(await job.cancel()))

    async def _replay(self) -> None:
        dead = sorted(self.world.state.texts("xi"))
        if dead:
            job_id = self._random.choice(dead)
            self.book.note("desk", "replays", job_id)
            await self.queue.dlq.replay(job_id)

    async def _audit(self) -> None:
        """A queue at work is sound, and mending it changes nothing."""
        judge = not self.world.watch.timeless
        found = await self.queue.verify()
        if judge:
            self._sound(found)
            repairs = [one for one in (await self.queue.recover(apply=True)).repairs if one.kind not in FADING]
            if repairs and not self.world.watch.timeless:
                self.book.wrong(f"recover mended what was sound: {repairs}")

    def _sound(self, found: Verification) -> None:
        for finding in found.findings:
            if finding.kind not in FADING:
                self.book.wrong(f"verify: {finding.kind}: {list(finding.examples)}")

    async def _look(self) -> None:
        job_id = self._somebody()
        if job_id is None or self._random.random() < 0.5:
            await self.queue.counts()
            return
        await self.queue.explain(job_id)
        job = await self.queue.job(job_id)
        if job is not None:
            self.book.note("desk", "looks at", job_id, str(await job.state()))

    async def _report(self) -> None:
        """Numbers that are asked for in the middle of it are of jobs that there were."""
        stats = await self.queue.stats(window="1h", by=self._random.choice([None, "name", "tenant"]))
        added = sum(self.world.watch.lives.values())
        if stats.total.arrived > added:
            self.book.wrong(f"{stats.total.arrived} arrived of {added}")
        await self.queue.health()

    async def _block(self) -> None:
        blocks = await self.queue.blocks()
        if blocks and self._random.random() < 0.6:
            await blocks[0].release()
        elif len(blocks) < 3:
            n = Arg("item.n") if self.plan.has("batches") else Arg("n")
            await self.queue.block(name=WORK, where=n < self._random.randint(2, 8))

    async def _reprioritise(self) -> None:
        job_id = self._somebody()
        job = await self.queue.job(job_id) if job_id else None
        if job is not None:
            self.book.note("desk", "moves", job.id)
            await job.set_priority(self._random.choice(list(Priority)))

    async def _declare(self) -> None:
        assert self.app.scheduler is not None
        job = self.app.work.job(*self.app.arguments(0))
        await self.app.scheduler.upsert(SCHEDULE, job, every=PERIOD, misfire="catch_up", catch_up=1000)

    # -- afterwards ------------------------------------------------------------------------------------

    async def open_all(self) -> None:
        """Open whatever is closed; there are no faults any more."""
        await self.queue.resume()
        await self.queue.resume(handler=WORK)
        for block in await self.queue.blocks():
            await block.release()
        if self.app.scheduler is not None:
            with suppress(ScheduleUnknown):  # the server lost it
                await self.app.scheduler.remove(SCHEDULE)

    async def replay_all(self) -> None:
        """Give the dead that failed for what is mended now another life."""
        if not self.plan.has("replays", "breaker"):
            return
        async for letter in self.queue.dlq.list(error="mended"):
            await self.queue.dlq.replay(letter.id)

    async def verify(self) -> None:
        """Ask `queue.verify` whether all is sound, and close."""
        self._sound(await self.queue.verify())
        await self.queue.clean("completed")
        await self.queue.aclose()
