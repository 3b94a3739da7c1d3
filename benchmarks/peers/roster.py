"""Who takes part: where each contender lives, and roughly how fast it is, so that every measure lasts about as long."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
OURS = ("streamq", "streamq:uvloop")
LIMITS = ("bare", "bare:uvloop")


class Contender(NamedTuple):
    """One line of the roster.

    pace: no-op jobs a second to expect of one worker process, which decides how many jobs a drain has. skips: measures
    that make no sense for it, with the reason.
    """

    name: str
    pace: int
    skips: dict[str, str] = {}  # noqa: RUF012 - never changed

    @property
    def base(self) -> str:
        """Name without variant."""
        return self.name.partition(":")[0]

    @property
    def variant(self) -> str:
        """What stands behind the colon, else ''."""
        return self.name.partition(":")[2]

    @property
    def file(self) -> str:
        """Name of its file and of its requirements, without suffix."""
        return self.base.replace("-", "_")

    @property
    def is_node(self) -> bool:
        """Whether it runs on Node."""
        return self.base == "bullmq-node"


_NO_QUEUE = {"late": "a stream has no delays", "recover": "a loop without a queue takes nothing over"}

ROSTER: dict[str, Contender] = {
    one.name: one
    for one in (
        Contender("bare", 60_000, _NO_QUEUE),
        Contender("bare:uvloop", 60_000, _NO_QUEUE),
        Contender("streamq", 45_000),
        Contender("streamq:uvloop", 50_000),
        Contender("repid", 8_000),
        Contender("dramatiq", 4_000),
        Contender("taskiq", 3_500),
        Contender("saq", 2_400),
        Contender("docket", 2_000),
        Contender("bullmq-py", 2_200),
        Contender("arq", 2_000),
        Contender("celery", 1_200),
        Contender("streaq", 1_100),
        Contender("bullmq-node", 18_000),
        # Not in a run unless named:
        Contender("taskiq:uvloop", 4_000),
        Contender("repid:uvloop", 8_000),
        Contender("saq:uvloop", 2_600),
        Contender("docket:uvloop", 2_000),
        Contender("bullmq-py:uvloop", 2_200),
        Contender("arq:uvloop", 2_400),
        Contender("streaq:uvloop", 1_400),
        Contender("celery:prefork", 1_200),
    )
}

USUAL = tuple(ROSTER)[:14]
PEERS = tuple(name for name in ROSTER if ROSTER[name].base not in {"streamq", "bare"})
PYTHON_PEERS = tuple(name for name in PEERS if not ROSTER[name].is_node)
