"""What can go wrong with the embedded server."""

from __future__ import annotations

from ..errors import StreamqError

HAVE_A_URL = "set STREAMQ_URL=redis://host:6379/0 to use a server of yours"


class EmbeddedServerError(StreamqError):
    """There is no embedded server to use. ``problem`` says why, ``remedy`` what to do next."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"no embedded server: {problem}; {remedy}")


class PlaceUnusable(Exception):
    """Server files cannot be kept in this directory. Never reaches a user: attach() goes on to the next place."""
