"""What is wrong with a queue: which damage the facts of one thing show.

Facts are told by lua/verify.lua in one moment, so what they show is so, however busy the queue is: no script leaves a
job in two places, or in none. The kinds are in `KINDS`; what to do about one is a name in lua/flow/_mend.lua.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .damage import Damage, lane_text, place_text, text

SILENT_MS = 60_000
"""A worker beats every two seconds; not heard of for this long it is gone, and so is whoever holds an entry longer."""

PSEUDO = frozenset({b"~", b"!"})
"""Consumers that are no workers: of jobs handed back, and of suspects that wait for a worker with room."""


class JobFacts(NamedTuple):
    """A job by its id. ``there``: where its row says; ``letter``: the dead letter that ``dead`` names is there."""

    row: bytes
    body: bool
    due: bool
    there: bool
    dead: bool
    letter: bool
    mark: bool
    waiter: bool
    ended: bool


class EntryFacts(NamedTuple):
    """An entry of a stream. ``same``: the row names it; ``elsewhere``: the row's place has the job.

    ``dead``: a dead letter keeps its envelope.
    """

    there: bool
    id: bytes
    body: bool
    row: bytes
    same: bool
    elsewhere: bool
    dead: bool
    owner: bytes
    silent: bool
    past: bool


def of_job(job: bytes, facts: JobFacts) -> list[Damage]:
    """Return what is wrong with a job, looked at by its id."""
    found = list(_indexed(job, facts)) if facts.row else list(_unindexed(job, facts))
    if facts.dead and not facts.letter:
        found.append(Damage("letter-missing", "unletter", job, loses=not facts.row and not facts.body))
    return found


def _indexed(job: bytes, facts: JobFacts) -> Sequence[Damage]:
    place, found = facts.row[:1], list[Damage]()
    said = place_text(facts.row)
    if place not in b"01234tdpf":
        return [Damage("row-unknown", "", job, said)]
    if not facts.there and facts.body:
        found.append(Damage("row-wrong", "place", job, said))
    elif not facts.there:
        found.append(Damage("job-lost", "bury", job, said, loses=True))
    elif place in b"dpf" and not facts.body:
        found.append(Damage("body-missing", "bury", job, said, loses=True))
    elif place not in b"dpf" and facts.body:
        found.append(Damage("body-stray", "unbody", job, said))
    if facts.due and place != b"d" and (facts.there or not facts.body):
        found.append(Damage("delayed-stray", "undelay", job, said))
    if facts.dead and facts.letter:
        found.append(Damage("dead-alive", "", job, f"{said}; purge its dead letter, or cancel it"))
    return found


def _unindexed(job: bytes, facts: JobFacts) -> Sequence[Damage]:
    found: list[Damage] = []
    over = facts.ended or (facts.dead and facts.letter)
    if facts.body and over:
        found.append(Damage("body-stray", "unbody", job))
    elif facts.body:
        found.append(Damage("row-missing", "place", job, "delayed" if facts.due else "envelope"))
    if facts.due and (over or not facts.body):
        found.append(Damage("delayed-stray", "undelay", job, loses=not over))
    if facts.mark:
        found.append(Damage("mark-stray", "unmark", job))
    if facts.waiter and not (facts.body and not over):
        found.append(Damage("waiter-stray", "unwait", job))
    return found


def of_entry(lane: str, entry: bytes, facts: EntryFacts) -> list[Damage]:
    """Return what is wrong with an entry of a stream, or with its being pending."""
    at = f"{lane_text(lane)}, entry {entry.decode()}"
    held = f"{at}, held by {text(facts.owner)}" if facts.owner else at
    is_held = bool(facts.owner) and facts.owner not in PSEUDO and not facts.silent
    found: Damage | None = None
    if not facts.there:
        found = Damage("pending-stray", "ack", b"", held) if facts.owner else None
    elif not facts.id or not facts.body:
        found = None if is_held else Damage("entry-raw", "raw", b"", held)
    elif facts.same:
        found = _standing(lane, facts, at, held)
    elif facts.row and facts.elsewhere:
        found = Damage("entry-stray", "drop", facts.id, f"{held}; it is {place_text(facts.row)}")
    elif facts.dead:
        found = Damage("entry-stray", "drop", facts.id, f"{held}; it is dead")
    elif is_held:
        found = Damage("row-held", "", facts.id, f"{held}; settled by it, or taken over from it")
    else:
        found = Damage("row-wrong" if facts.row else "row-missing", "wait", facts.id, held)
    return [found] if found else []


def _standing(lane: str, facts: EntryFacts, at: str, held: str) -> Damage | None:
    """Return what is wrong with an entry that its row names."""
    if facts.silent:
        return Damage("pending-silent", "wait", facts.id, held)
    if not facts.owner and (facts.past or lane == "t"):
        return Damage("entry-stuck", "wait", facts.id, at)
    return None


def of_member(letter: str, member: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a member of the parked (p) or the lines (f): there, row, same, elsewhere, its line."""
    there, row, same, _, *lined = facts
    job = member[9:] if letter == "f" else member.rpartition(b"\0")[2]
    kind, mend = ("line-stray", "unpin") if letter == "f" else ("parked-stray", "unpark")
    if not there:
        return []
    if not same:
        return [Damage(kind, mend, job, f"it is {place_text(row)}" if row else "no index row")]
    return [Damage("line-lost", "relist", job)] if lined and not lined[0] else []


def of_letter(entry: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a dead letter: there, id, entry in the index, that is there and another."""
    there, job, indexed, other = facts
    if not there or not job or indexed == entry:
        return []
    twice = f"; another is {text(indexed)}" if other else ""
    return [Damage("letter-unindexed", "letter", job, f"entry {text(entry)}{twice}")]


def of_line(name: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a line: there, state, somebody waits, it is where it says."""
    there, state, jobs, placed = facts
    if not there or (placed and (jobs or state == b"r")):
        return []
    why = "it is nowhere" if not placed else "nobody waits in it"
    return [Damage("line-stuck", "line", b"", f"{text(name)}: {why}")]


def of_gate(name: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a gate: parked by its count, really; its envoy is gone; nobody wakes who waits."""
    counted, parked, lost, asleep = facts
    if lost or asleep:
        why = "the line that goes first is gone" if lost else "it is open, and nobody is told"
        return [Damage("gate-stuck", "gate", b"", f"{text(name)}: {why}")]
    if counted != parked:
        return [Damage("gate-count", "gate", b"", f"{text(name)}: {text(counted)} counted, {text(parked)} parked")]
    return []


def of_books(facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with the books: protocol, cancels, released, lanes without group."""
    protocol, cancels, released, groups = facts[:4]
    found = [Damage("protocol-missing", "protocol")] if protocol else []
    found += [Damage("cancels-count", "cancels")] if cancels else []
    found += [Damage("released-count", "released")] if released else []
    if groups:
        said = ", ".join(lane_text(chr(letter)) for letter in groups)
        found.append(Damage("group-missing", "group", b"", said))
    return found


def of_worker(name: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a worker's heartbeat: there, heard of."""
    there, heard = facts
    return [Damage("heartbeat-stray", "unbeat", b"", text(name))] if there and not heard else []


def of_consumer(name: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a consumer: there, holds something, silent."""
    there, holds, silent = facts
    if not there or holds or not silent:
        return []
    return [Damage("consumer-stray", "consumer", b"", f"{text(name[1:])} on {lane_text(name[:1].decode())}")]


def of_key(letter: str, name: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a record (r), a producer's (e) or a worker's memo (k): there, for ever, left."""
    there, eternal, left = facts
    said = f"{letter}:{text(name)}"
    if there and eternal:
        return [Damage("ttl-missing", "expire", b"", said)]
    return [Damage("memo-stray", "forget", b"", said)] if there and left and letter == "k" else []


def of_detail(job: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what is wrong with a completed job: its detail is there, the window knows it."""
    there, known = facts
    return [Damage("detail-stray", "detail", job)] if there and not known else []


_READERS: Mapping[str, Callable[[bytes, Sequence[bytes]], list[Damage]]] = {
    "x": of_letter,
    "l": of_line,
    "g": of_gate,
    "h": of_worker,
    "u": of_consumer,
    "w": of_detail,
}


def damages(thing: bytes, facts: Sequence[bytes]) -> list[Damage]:
    """Return what the facts of a thing show; a thing is a letter (lua/flow/_facts.lua) and a name."""
    letter, name = chr(thing[0]), thing[1:]
    if letter == "i":
        return of_job(name, JobFacts(facts[0], *map(bool, facts[1:])))
    if letter in "01234t":
        there, job, body, row, same, elsewhere, dead, owner, silent, past = facts
        flags = (bool(same), bool(elsewhere), bool(dead))
        seen = EntryFacts(bool(there), job, bool(body), row, *flags, owner, bool(silent), bool(past))
        return of_entry(letter, name, seen)
    if letter in "pf":
        return of_member(letter, name, facts)
    if letter in "rek":
        return of_key(letter, name, facts)
    return of_books(facts) if letter == "n" else _READERS[letter](name, facts)


class Slots(NamedTuple):
    """What a gate counts and what was counted. ``taken``, ``lined``: jobs that nobody looked at, so not counted."""

    gate: str
    used: int
    running: int
    waiting: int
    in_line: int
    taken: int
    lined: int

    def damages(self) -> list[Damage]:
        """Return what is certainly wrong: outside of what the jobs that nobody looked at could explain."""
        found: list[Damage] = []
        if not self.running <= self.used <= self.running + self.taken:
            found.append(Damage("slots-wrong", "slots", b"", f"{self.gate}: {self.used} counted, {self.running} run"))
        if not self.in_line <= self.waiting <= self.in_line + self.lined:
            said = f"{self.gate}: {self.waiting} counted, {self.in_line} wait"
            found.append(Damage("waiting-wrong", "slots", b"", said))
        return found
