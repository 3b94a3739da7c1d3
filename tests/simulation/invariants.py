"""What must hold after every command that the server runs: I1-I4, I6-I10, I12-I14 of the plan, F1-F7 of flow control.

The state is judged by tests/store/snapshot.py; here each command is judged by what was there before it, and its reply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from streamq._store.keys import Keys
from streamq._store.link import Reply, ReplyError
from streamq._store.scripts import LINES, VERBS, lines_script, script
from tests.simulation.book import Book, Run
from tests.simulation.dedups import Dedups
from tests.simulation.loop import Node
from tests.simulation.state import FLOW, JOBS, State
from tests.simulation.takes import HANDING, Before, Takes, shown
from tests.store import snapshot as snapshots
from tests.store.lined import Lines
from tests.store.snapshot import text

NAMES: Final = {
    **{script(verb).sha: (verb, False) for verb in VERBS},
    **{script(verb).sha: (verb, True) for verb in LINES if verb not in VERBS},
    **{lines_script(verb).sha: (verb, True) for verb in LINES},
}
"""Script -> its verb, and whether it is the build that knows of lines."""

ENDS: Final = frozenset("cCbex")
ADDING: Final = frozenset({"enqueue", "fire", "replay"})
REMOVING: Final = frozenset({"settle", "cancel"})


class Turn(NamedTuple):
    """Whose turn it is to look at the alerts, until when by the server's clock."""

    who: str
    until_ms: int


class Watch:
    """Sees every command; what is wrong goes into the book."""

    def __init__(self, state: State, book: Book, keys: Keys) -> None:
        self.state = state
        self.book = book
        self.takes = Takes(state, book)
        self.verbs = Counter[str]()
        """Commands that were run, by verb."""
        self.timeless = False
        """Whether the server's clock was moved: then nothing that is to come by time can be judged."""
        self.ended: dict[str, str] = {}
        self.lives = Counter[str]()
        self.adds = Counter[str]()
        """Jobs that were added, by verb."""
        self._turn = Turn("", 0)
        self._dedups = Dedups()
        self._keys = keys

    @property
    def torn(self) -> set[str]:
        """Jobs of which a crash lost something."""
        return self.takes.torn

    def seen(self, node: Node, words: Sequence[bytes], reply: Reply) -> None:
        """Judge a command that was run, and what is there after it."""
        state = self.state
        verb, knows_lines = NAMES.get(words[1], ("", False)) if words[0] == b"EVALSHA" else ("", False)
        self.verbs[verb or words[0].decode()] += 1
        owners: dict[str, str] = {}
        if verb in HANDING:
            owners = {entry.job: entry.owner for lane in state.lanes.values() for entry in lane}
        before = Before(state.rows, state.delayed, owners)
        bodies = state.hash("b") if verb == "enqueue" else {}
        changed = state.refresh()
        if not verb or isinstance(reply, ReplyError):
            self._outside(node, verb, words, reply, changed)
            return
        args = words[3 + int(words[2]) :]
        if verb == "watch":
            self._watched(node, text(args[0]), text(args[2]), reply)
        self.takes.seen(node, verb, args, reply, before)
        if "i" in changed or "b" in changed:
            if verb == "enqueue" and knows_lines:
                self._dedups.sent(args, state.now_ms)
                for job in [one for one, body in state.hash("b").items() if bodies.get(one, body) != body]:
                    self.book.note(str(node), "is replaced", job)
                    self.takes.added(job)  # another one, with all its attempts, in its place
            self._moved(node, verb, before.rows)
        if changed & JOBS or changed & FLOW:
            self._check()

    def _outside(self, node: Node, verb: str, words: Sequence[bytes], reply: Reply, changed: frozenset[str]) -> None:
        """Judge what is no verb, or a verb that was refused: it changes nothing."""
        if verb:
            self.book.note(str(node), f"{verb} refused", "", repr(reply)[:80])
        if changed & JOBS:
            self.book.wrong(f"I14: {verb or words[0].decode()} changed {sorted(changed)}, its answer is {reply!r}")

    def _watched(self, node: Node, who: str, what: str, reply: Any) -> None:
        """Judge whose turn it is to look at the alerts: one's at a time."""
        now, is_ours, left = int(reply[0]), bool(reply[1]), int(reply[2])
        if is_ours and who != self._turn.who and now < self._turn.until_ms:
            self.book.wrong(f"the alerts are looked at by {node}, it is the turn of {self._turn.who}")
        if is_ours:
            self._turn = Turn(who, now + left)
        elif what == "leave" and who == self._turn.who:
            self._turn = Turn("", 0)

    def begun(self, run: Run) -> None:
        """A handler begins a run: I7, and nobody runs a job beside itself."""
        if run.job in self.torn:
            return
        held = self.takes.held.get(run.job)
        is_holder = held is not None and str(held.node) == run.who  # else a zombie begins, of a take long gone
        if is_holder and run.attempt != 1 + self.takes.attempts[run.job]:
            self.book.wrong(f"I7: attempt {run.attempt} after {self.takes.attempts[run.job]} were used up", run.job)
        for one in self.book.runs[run.job]:
            if one is not run and one.who == run.who and one.until is None and not one.cancelled:
                self.book.wrong(f"{run.who} runs it beside itself", run.job)
            if one is not run and one.fence == run.fence and one.since >= self.takes.born.get(run.job, 0.0):
                self.book.wrong("begun twice under one fence", run.job)
        if run.job not in self.lives:
            self.book.wrong("runs, and nobody added it", run.job)

    # -- the state -------------------------------------------------------------------------------------

    def _check(self) -> None:
        now = self.state.snapshot(with_lines=True)
        whole = now.lines
        try:
            if self.timeless and whole != Lines():
                now = replace(now, lines=replace(whole, now_ms=1 << 53))  # alarms are there, whenever they are due
            if self.timeless:  # what was sent again after its memo was forgotten may have died before
                again = {at for job, at in now.dead_index.items() if job in now.index}
                now = replace(
                    now,
                    dead_index={job: at for job, at in now.dead_index.items() if at not in again},
                    dead={at: fields for at, fields in now.dead.items() if at not in again},
                )
            snapshots.check(_NO_SERVER, self._keys, now)
            self.takes.limits.check(whole, self.takes.left)
        except AssertionError as wrong:
            self.book.wrong(" ".join(str(wrong).split())[:300])

    def _moved(self, node: Node, verb: str, before: Mapping[str, bytes]) -> None:
        """Judge which jobs are there now, and which are gone."""
        after, takes = self.state.rows, self.takes
        for job in [one for one in after if one not in before]:
            self.lives[job] += 1
            self.adds[verb] += 1
            self.book.note(str(node), verb, job, shown(after[job]))
            if verb not in ADDING:
                self.book.wrong(f"added by {verb}", job)
            certain = not (self.timeless or self.torn)
            if job in self.ended and verb != "replay" and certain:
                self.book.wrong(f"I3, I9: added by {verb} again, after it was {self.ended[job]}", job)
            self.ended.pop(job, None)
            takes.added(job)
            again = [one for one, lives in self.lives.items() if lives > 1]
            met = self._dedups.wrong(job, before, self.lives, again) if verb == "enqueue" and certain else ""
            if met:
                self.book.wrong(f"I10: added beside {met}", job)
        for job in [one for one in before if one not in after]:
            letter = takes.letters.pop(job, "") if verb == "settle" else ""
            self.ended[job] = f"settled {letter}" if verb == "settle" else verb
            takes.held.pop(job, None)
            self.book.note(str(node), "it is over", job, self.ended[job])
            if verb not in REMOVING or (verb == "settle" and letter not in ENDS):
                self.book.wrong(f"I5: vanished: {self.ended[job]}", job)

    # -- what befalls the server -----------------------------------------------------------------------

    def crashing(self, lost: int) -> None:
        """The last ``lost`` writes are about to be lost: nobody can answer for the jobs they are about."""
        if lost:
            self.torn.update(self.state.mentioned(lost, list(self.lives)))

    def crashed(self, lost: int) -> None:
        """The server is back without them: I13."""
        before = self.state.whereabouts()
        self.state.reread()
        after = self.state.whereabouts()
        changed = [job for job in self.lives if before.get(job) != after.get(job)]
        for job in changed if not lost else ():
            self.book.wrong("I13: changed by a crash that lost nothing", job)
        self.torn.update(changed)
        for job in self.state.rows:
            self.ended.pop(job, None)
        for job in self.torn:
            self.takes.held.pop(job, None)
            if job not in self.state.rows:
                self.ended.setdefault(job, "torn")
        if lost:
            self._turn = Turn("", 0)
            self.takes.forget_answers()
            self.takes.limits.torn()
        self._check()

    def jumped(self) -> None:
        """The server's clock was moved: memos may be forgotten, and windows of time mean nothing."""
        self.timeless = True
        self._turn = Turn("", 0)
        self.takes.forget_answers()


_NO_SERVER: Any = None
"""A check of a snapshot without records asks no server."""
