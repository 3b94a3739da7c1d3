"""Kinds of damage a queue can have, and one thing that is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of damage: what it means, and what recover does ('': nothing, ``means`` says who does)."""

    name: str
    means: str
    mends: str


_KINDS = (
    Kind("row-missing", "a job that the index does not know: nobody can cancel or settle it", "indexed, waits again"),
    Kind("row-wrong", "a job whose index row names a place where it is not", "indexed, waits again"),
    Kind("row-held", "a job without index row that a live worker holds", ""),
    Kind("row-unknown", "an index row that this version cannot read", ""),
    Kind("job-lost", "an index row of which nothing else is left", "told as a dead letter"),
    Kind("body-missing", "a delayed, parked or lined-up job without its envelope", "told as a dead letter"),
    Kind("body-stray", "an envelope of a job that is elsewhere or over", "removed"),
    Kind("entry-stray", "a second entry of a job that is elsewhere", "removed"),
    Kind("entry-stuck", "an entry that its group is past and nobody holds", "waits again"),
    Kind("entry-raw", "a stream entry that is no job", "told as a dead letter"),
    Kind("pending-stray", "a pending entry that is not in its stream", "acknowledged"),
    Kind("pending-silent", "a job held by a worker that was not heard of for a minute", "released, waits again"),
    Kind("delayed-stray", "an id among the delayed that is elsewhere or nowhere", "removed"),
    Kind("parked-stray", "an id among the parked that is elsewhere or nowhere", "removed"),
    Kind("line-stray", "an id in a line that is elsewhere or nowhere", "removed"),
    Kind("line-lost", "a job in a line that is gone", "gets a line"),
    Kind("line-stuck", "a line that never has its turn", "has its turn"),
    Kind("gate-stuck", "a limit at which jobs wait and that nobody would open", "opened"),
    Kind("gate-count", "a limit that counts other lines than are parked there", "counted anew"),
    Kind("slots-wrong", "a limit that counts other running jobs than there are", "counted anew"),
    Kind("waiting-wrong", "a limit that counts other waiting jobs than there are", "counted anew"),
    Kind("letter-missing", "the index of the dead letters names one that is gone", "forgotten"),
    Kind("letter-unindexed", "a dead letter that its index does not name", "indexed; of two the newer"),
    Kind("deaths-count", "another number of dead letters by what they died of than there are", "counted anew"),
    Kind("dead-alive", "a job that is among the dead letters and unsettled", ""),
    Kind("mark-stray", "a request to stop a job that is over", "removed"),
    Kind("waiter-stray", "somebody waits for a job that is over", "removed"),
    Kind("cancels-count", "another number of requests to stop than there are", "counted anew"),
    Kind("released-count", "fewer jobs handed back than there are", "counted anew"),
    Kind("group-missing", "a stream that lost its consumer group", "made again from the start"),
    Kind("protocol-missing", "a queue that does not say its protocol", "written"),
    Kind("protocol", "the queue is kept under another protocol: nothing else was looked at", ""),
    Kind("heartbeat-stray", "a heartbeat of a worker that nobody heard of", "removed"),
    Kind("consumer-stray", "a consumer that holds nothing and was not heard of", "removed"),
    Kind("memo-stray", "a memo of a worker that is forgotten", "removed"),
    Kind("ttl-missing", "a key that would live for ever", "gets a lifetime"),
    Kind("key-unknown", "a key under this queue's prefix that is none of streamq's", ""),
    Kind("detail-stray", "a completed job outside of the window of completed jobs", "removed"),
)
KINDS: Mapping[str, Kind] = {one.name: one for one in _KINDS}
"""Kinds by name, the gravest first where that can be said."""


class Damage(NamedTuple):
    """One thing that is wrong. ``mend``: name of the repair, '' for none; ``job``: the id it concerns, if known.

    ``loses``: nothing of the job is left that could run.
    """

    kind: str
    mend: str
    job: bytes = b""
    detail: str = ""
    loses: bool = False


def lane_text(letter: str) -> str:
    """Return the name of a stream for people."""
    return "taken stream" if letter == "t" else f"lane {letter}"


def place_text(row: bytes) -> str:
    """Return the place that an index row names, for people; its record is left out, the name of a parked job in it."""
    place = row[:1]
    names = {b"d": "delayed", b"p": "parked", b"f": "in a line"}
    if place in names:
        return names[place]
    head = text(row.partition(b"|")[0].partition(b":")[0])
    return f"in {lane_text(head[:1])}, entry {head[1:]}" if place and place in b"01234t" else f"at {head!r}"


def text(data: bytes) -> str:
    """Return bytes as text for people: what is no text, and what would move the cursor, is written out."""
    found = data[:200].decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in found)
