"""Who holds which job, by what the server answered: fences hold, and a job is handed out again for a reason only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from streamq._store import replies
from streamq._store.replies import Taken, place_of
from tests.simulation.book import Book
from tests.simulation.limits import Limits
from tests.simulation.loop import Node
from tests.simulation.state import State
from tests.store import lined
from tests.store.snapshot import text

ARGUMENTS: Final = dict(zip("cCrbeuUpPxlvV", (1, 2, 4, 5, 2, 0, 0, 2, 2, 2, 3, 2, 2), strict=True))
"""Arguments of each settlement (settle.lua)."""

HANDING: Final = frozenset({"fetch", "take", "tick", "unpark", "reconcile"})
NOBODY: Final = frozenset({"", "~", "!"})
"""Owners of entries that are in no worker's hands."""

Rows = Mapping[str, bytes]


class Held(NamedTuple):
    """Who has a job, and when that was confirmed last."""

    node: Node
    since: float


class Before(NamedTuple):
    """What was there before a command: index rows, due times of the delayed, owners of entries."""

    rows: Rows
    delayed: Mapping[str, int]
    owners: Mapping[str, str]


class Takes:
    """Follows every job from hand to hand."""

    def __init__(self, state: State, book: Book) -> None:
        self.limits = Limits(state, book)
        self.held: dict[str, Held] = {}
        self.letters: dict[str, str] = {}
        """By which settlement a job was given away last."""
        self.applied = Counter[tuple[str, str]]()
        """Settlements that were applied: letter and job; a snooze is `s`."""
        self.stalls = Counter[str]()
        self.attempts = Counter[str]()
        """Attempts that were used up."""
        self.left: set[str] = set()
        """Jobs that were parked, and so out of their lines, for a while."""
        self.born: dict[str, float] = {}
        """When a job was added last, or replaced by another of its dedup key."""
        self.torn: set[str] = set()
        """Jobs of which a crash of the server lost something."""
        self._state = state
        self._book = book
        self._answers: dict[tuple[bytes, bytes], bytes] = {}

    def seen(self, node: Node, verb: str, args: Sequence[bytes], reply: Any, before: Before) -> None:
        """Judge a verb of a worker."""
        if verb in HANDING:
            self._handed(node, verb, args, reply, before)
        elif verb == "settle":
            self._settled(node, args, reply, before.rows)
        elif verb == "renew":
            self._renewed(node, args, reply, before.rows)
        elif verb == "promote":
            self._promoted(args, reply, before.delayed)

    def added(self, job: str) -> None:
        """A life of this job begins."""
        self.born[job] = self._book.now
        self.letters.pop(job, None)
        self.attempts.pop(job, None)
        self.held.pop(job, None)

    def forget_answers(self) -> None:
        """The server may have forgotten its memos."""
        self._answers.clear()

    # -- given away ------------------------------------------------------------------------------------

    def _settled(self, node: Node, args: Sequence[bytes], reply: bytes, before: Rows) -> None:
        consumer, seq = args[3], args[1]
        known = self._answers.get((consumer, seq))
        if known is not None or not self._state.wrote:
            if (known or reply) != reply or before != self._state.rows:
                self._book.wrong(f"I12: a settlement sent again was answered {reply!r}, at first {known!r}")
            return
        self._answers[consumer, seq] = reply
        done: set[str] = set()
        at = 11
        for answer in reply.decode():
            letter, job, token = args[at].decode(), text(args[at + 1]), args[at + 2]
            more = args[at + 3 : at + 3 + ARGUMENTS[letter]]
            at += 3 + ARGUMENTS[letter]
            mine = before.get(job) == token and job not in done
            self._book.note(str(node), f"settle {letter}: {answer}", job, shown(token))
            if letter != "x" and (answer == "a") != mine:
                self._book.wrong(f"I4: {letter} by {node} is answered {answer}, the row was {before.get(job)!r}", job)
            if answer == "a":
                done.add(job)
                self._accepted(job, letter, token, more)

    def _accepted(self, job: str, letter: str, token: bytes, more: Sequence[bytes]) -> None:
        self.letters[job] = letter
        self.held.pop(job, None)
        self.applied["s" if letter == "r" and more[3] != b"retried" else letter, job] += 1
        if letter == "r" and more[3] == b"retried":
            self.attempts[job] += 1
        if letter in "pP":
            self.left.add(job)
        if letter in "upv":
            self.limits.forget(place_of(token))
        if letter == "c" and job not in self._state.hash("wd"):
            self._book.wrong("I1: completed, and not among the completed", job)
        if letter == "b" and job not in self._state.hash("xi"):
            self._book.wrong("I1: buried, and not among the dead letters", job)

    # -- kept ------------------------------------------------------------------------------------------

    def _renewed(self, node: Node, args: Sequence[bytes], reply: bytes, before: Rows) -> None:
        owners = {entry.job: entry.owner for lane in self._state.lanes.values() for entry in lane}
        for at, answer in enumerate(reply.decode()):
            job, token = text(args[1 + 2 * at]), args[2 + 2 * at]
            if (answer == "a") != (before.get(job) == token):
                self._book.wrong(f"I4: a renewal is answered {answer}, the row is {before.get(job)!r}", job)
            if answer != "a":
                self._book.note(str(node), f"renew: {answer}", job)
                continue
            if owners.get(job) != text(args[0]) and job not in self.torn:
                self._book.wrong(f"I4: renewed by {node}, and held by {owners.get(job)}", job)
            self.held[job] = Held(node, self._book.now)

    def _promoted(self, args: Sequence[bytes], reply: Any, delayed: Mapping[str, int]) -> None:
        now = int(reply[0])
        for job, due in delayed.items():
            if job not in self._state.delayed and len(args) == 3 and due > now:
                self._book.wrong(f"I8: promoted {due - now} ms before it was due", job)

    # -- handed out ------------------------------------------------------------------------------------

    def _handed(self, node: Node, verb: str, args: Sequence[bytes], reply: Any, before: Before) -> None:
        jobs, now_ms = self._jobs(verb, args, reply)
        if verb == "tick":
            self._put_back(node, before)
        for one in jobs:
            job = text(one.id)
            row, owner = self._state.rows.get(job), before.owners.get(job, "")
            if one.body is None:
                self._book.wrong(f"{verb} handed out what is no job: {one.id!r}")
                continue
            self._book.note(str(node), verb, job, f"{shown(one.token)} delivery {one.deliveries} {one.mark.decode()}")
            if row != one.token:
                self._book.wrong(f"I4: {verb} gave the token {one.token!r}, the row is {row!r}", job)
            if verb in {"fetch", "take", "unpark"} and owner not in {"", "~"}:
                self._book.wrong(f"I1: {verb} gave {node} what {owner} holds", job)
            self._again(node, verb, job, owner)
            self.held[job] = Held(node, self._book.now)
        self.limits.handed(verb, jobs, now_ms)

    def _put_back(self, node: Node, before: Before) -> None:
        """Note the first stalls of jobs of lines: they go back to their places there."""
        for job, row in before.rows.items():
            if row[:1] == b"t" and self._state.rows.get(job, b"")[:1] == b"f":
                self._book.note(str(node), "puts back", job)
                self._again(node, "tick", job, before.owners.get(job, ""))

    def _jobs(self, verb: str, args: Sequence[bytes], reply: Any) -> tuple[Sequence[Taken], int]:
        match verb:
            case "fetch":
                fetched = replies.read_fetched(reply)
                return fetched.jobs, fetched.now_ms
            case "take":
                offer = replies.read_offer(reply, args[6])
                return offer.fetched.jobs, offer.fetched.now_ms
            case "tick":
                return replies.read_ticked(reply).stalled, int(reply[0])
            case "unpark":
                return replies.read_unparked(reply), self._state.now_ms
            case _:
                return ([] if args[1] == b"0" else replies.read_adopted(reply)), self._state.now_ms

    def _again(self, node: Node, verb: str, job: str, owner: str) -> None:
        """A job leaves somebody's hands without having been given away: there must be a reason."""
        held = self.held.pop(job, None)
        letter = self.letters.pop(job, None)
        if verb == "tick" and owner not in {"", "~"}:
            self.stalls[job] += 1
        if held is None:
            if letter is not None:
                self._book.again[f"settled {letter}"] += 1
            return
        if job in self.torn:
            self._book.again["the server lost what it wrote"] += 1
        elif verb == "reconcile" and held.node is node:
            self._book.again["reply lost"] += 1
        else:
            why = self._book.excuse(str(held.node), held.since, self._book.now)
            if why is None:
                self._book.wrong(f"taken over by {node} ({verb}), although {held.node} holds it and is well", job)
            self._book.again[f"{verb}: {why}"] += 1


def shown(token: bytes) -> str:
    """Return a token or row for people, without its record."""
    return lined.place_of(token).decode("utf-8", "replace")
