"""Runs of jobs, put together from what workers noted about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tests.ledger import Line

TAKES = 1 << 20
"""Takes of a job between two entries into the queue; the rest of a fence is the number of entries (Attempt.fence)."""

REFUSED = frozenset({"refused: lost", "refused: gone", "lost"})
"""Answers by which a worker learnt that a job was not his any more."""

_ANSWERS = {"l": "refused: lost", "g": "refused: gone"}


class Run(NamedTuple):
    """One run of a job: its begin in a process, its effect, and how its worker was answered, as far as they came.

    ``answer``: the letter of an accepted settlement, one of `REFUSED`, or None; ``told``: when it came. ``wall``: when
    the run began, seconds since the epoch. ``hop`` and ``take``: which entry into the queue, and which take of it.
    ``token``: by which its worker held it, if he told when he lost it.
    """

    pid: int
    start: float
    wall: float
    attempt: int
    stalls: int
    take: int
    hop: int = 0
    effect: float | None = None
    answer: str | None = None
    told: float | None = None
    token: str = ""


def runs_of(lines: Sequence[Line]) -> dict[str, list[Run]]:
    """Return the runs of each job in the order of their starts; effects and answers belong to the run they are of."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for line in lines:
        if line.what == "start":
            runs[line.job].append(_begun(line))
        elif line.what in {"effect", "settled", "lost"} and line.job in runs:
            known = runs[line.job]
            at = _place(known, line)
            if at is not None:
                known[at] = _told(known[at], line)
    return dict(runs)


def _begun(line: Line) -> Run:
    more = line.more
    hop, take = divmod(int(more.get("fence", 0)), TAKES)
    return Run(line.pid, line.at, float(more.get("wall", 0.0)), more["attempt"], more["stalls"], take, hop)


def _place(known: Sequence[Run], line: Line) -> int | None:
    """Return which run a line is about: of its process, without an answer yet, of the same take if that is told."""
    # Who lost his lease by his own clock may say something all the same, and be answered.
    still = {None, "lost"} if line.what == "settled" else {None}
    mine = [at for at, run in enumerate(known) if run.pid == line.pid and run.answer in still]
    token = line.more.get("token")
    if token is not None:
        take = int(str(token).partition("|")[0].rpartition(":")[2] or 0)
        mine = [at for at in mine if known[at].take == take and known[at].token in {"", token}]
    if line.what == "settled":  # of two runs of one token the one that was not lost is answered
        mine = [at for at in mine if known[at].answer is None] or mine
    if not mine:
        return None
    return mine[-1] if line.what == "effect" else mine[0]


def _told(run: Run, line: Line) -> Run:
    if line.what == "effect":
        return run._replace(effect=line.at)
    if line.what == "lost":
        return run._replace(answer="lost", told=line.at, token=str(line.more.get("token", "")))
    answer = line.more["answer"]
    return run._replace(answer=line.more["verb"] if answer == "a" else _ANSWERS[answer], told=line.at)
