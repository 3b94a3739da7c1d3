"""The live half of ``streamq top``: looks, draws, hears keys, and does what they ask for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from .. import Queue
from ..errors import JobDead, StreamqError
from .lines import drawn, glyphs
from .say import count, duration
from .terminal import Terminal
from .top_keys import press
from .top_model import Ask, Do, Fact, Model
from .top_panels import Room
from .top_view import screen
from .watching import Away, Queues, Watch

RATE = 50.0
"""Dead letters a second that are replayed when there are many."""

FOLLOW = 60.0
"""Seconds for which the end of a replayed job is waited for."""

FIRST = 20
"""Queues that are asked for their verdict at once; after that one each look."""


async def facts(queue: Queue) -> Fact:
    """Return the verdict of a queue, and what each of the last sixty minutes completed; bounded reads."""
    try:
        health, stats = await asyncio.gather(queue.health(), queue.stats(window=3600))
    except StreamqError:
        return Fact()
    reason = next((one.said for one in health.reasons if one.level == health.level and one.what != "paused"), "")
    minutes = tuple(one.completed for one in stats.series)[-60:]
    return Fact(health.level, reason if health.level != "ok" else "", minutes)


class Live:
    """A screen, and what goes on behind it."""

    def __init__(self, watch: Watch, queues: Queues, only: Sequence[str], *, colour: bool) -> None:
        self.model: Model = Model(only)
        self._watch = watch
        self._queues = queues
        self._colour = colour
        self._signs = glyphs()
        self._changed = asyncio.Event()
        self._acts: set[asyncio.Task[None]] = set()
        self._turn = 0

    async def run(self) -> None:
        """Draw until somebody quits; the terminal is as it was afterwards, also after an error."""
        with Terminal(self._pressed, self._quit, self._changed.set) as terminal:
            looking = asyncio.create_task(self._look())
            try:
                while not self.model.over and not looking.done():
                    self._changed.clear()
                    self._draw(terminal)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1.0):  # ages and countdowns go on by themselves
                            await self._changed.wait()
            finally:
                for task in (looking, *self._acts):
                    task.cancel()
                ended = await asyncio.gather(looking, *self._acts, return_exceptions=True)
        problem = ended[0]
        if isinstance(problem, Exception):
            raise problem

    def _draw(self, terminal: Terminal) -> None:
        columns, lines = terminal.size
        room = Room(columns, lines, time.monotonic(), datetime.now().astimezone().strftime("%H:%M:%S"), self._signs)
        terminal.draw([drawn(line, columns, colour=self._colour) for line in screen(self.model, room)])

    def _quit(self) -> None:
        self.model.over = True
        self._changed.set()

    def _pressed(self, key: str) -> None:
        do = press(self.model, key)
        if do is not None:
            task = asyncio.create_task(self._do(do))
            self._acts.add(task)
            task.add_done_callback(self._acts.discard)
        self._changed.set()

    async def _look(self) -> None:
        while True:
            found = await self._watch.look()
            now = time.monotonic()
            if isinstance(found, Away):
                self.model.lost(found.reason, now + found.again)
            else:
                self.model.saw(found, now)
                await self._ask()
            self._changed.set()

    async def _ask(self) -> None:
        """Ask one queue for its verdict, in turns; at first those that are in view."""
        names = [one.name for one in self.model.rows()]
        unknown = [name for name in names[:FIRST] if name not in self.model.facts]
        self._turn += 1
        for name in unknown or names[self._turn % len(names) :][:1] if names else ():
            self.model.facts[name] = await facts(self._queues.named(name))

    # -- what keys ask for --------------------------------------------------------------------------

    async def _do(self, do: Do) -> None:
        queue = self._queues.named(do.queue)
        acts = {
            "pause": self._pause,
            "resume": self._resume,
            "replay one": self._replay_one,
            "replay all": self._replay_all,
        }
        try:
            self.model.said = await acts[do.verb](queue, do)
        except StreamqError as problem:
            self.model.said = str(problem).partition("\n")[0]
        self._changed.set()

    async def _pause(self, queue: Queue, do: Do) -> str:
        await queue.pause(reason=do.text)
        return f"{queue.name} is paused; running jobs finish"

    async def _resume(self, queue: Queue, do: Do) -> str:
        del do
        await queue.resume()
        return f"{queue.name} goes on"

    async def _replay_one(self, queue: Queue, do: Do) -> str:
        """Replay the newest dead letter, say how it ended, and only then offer the others."""
        letter = await anext(aiter(queue.dlq.list()), None)
        if letter is None:
            return f"no dead letters in {do.queue}"
        await queue.dlq.replay(letter.id)
        self.model.said = f"{letter.id} waits again; its end is waited for"
        self._changed.set()
        said = await self._end(queue, letter.id)
        left = await queue.dlq.count()
        if not left or self.model.ask is not None:
            return said
        question = f"{said}. Replay the other {left:,}?  [a]ll  [N]o"
        self.model.ask = Ask("replay", queue.name, question, {"a": "replay all"})
        return ""

    async def _end(self, queue: Queue, job_id: str) -> str:
        started = time.monotonic()
        job = await queue.job(job_id)
        try:
            if job is not None:
                await job.result(timeout=FOLLOW)
        except TimeoutError:
            return f"it still runs or waits after {duration(FOLLOW)}"
        except JobDead as problem:
            return f"it died again: {problem.error_type or problem.reason}"
        except StreamqError as problem:
            return f"it ended: {problem}"
        return f"it completed in {duration(time.monotonic() - started)}"

    async def _replay_all(self, queue: Queue, do: Do) -> str:
        del do
        many = await queue.dlq.count()
        rate = RATE if many > RATE else None
        done = await queue.dlq.replay_all(rate=rate)
        pace = f", over {duration(done.replayed / RATE)}" if rate else ""
        refused = f"; {count(len(done.refused), 'job')} live again already" if done.refused else ""
        return f"{count(done.replayed, 'dead letter')} replayed{pace}{refused}"
