"""Handlers that run in child processes: found there by their names, so they live at module level."""

import os
import time
from pathlib import Path

import msgspec

from streamq import Fatal, Fixed, Queue, Retry

# Moved to the test's server by the tests, before it is used.
queue = Queue("children", url="redis://localhost:1/0", backoff=Fixed(0))


class Sum(msgspec.Struct):
    """A typed result."""

    total: int
    pid: int


@queue.handler("add", pool="process")
def add(one: int, two: int) -> Sum:
    return Sum(one + two, os.getpid())


@queue.handler("nothing", pool="process", keep_result=True)
def nothing() -> None:
    return None


@queue.handler("sleep", pool="process", timeout=3.0, max_attempts=1)  # its process has to start first
def sleep(marks: str) -> None:
    Path(marks, f"started-{os.getpid()}").touch()
    time.sleep(30)
    Path(marks, "ended").touch()


@queue.handler("fail", pool="process", max_attempts=2)
def fail() -> None:
    raise ValueError(f"in {os.getpid()}")


@queue.handler("steer", pool="process", max_attempts=3)
def steer(how: str) -> None:
    if how == "fatal":
        raise Fatal("no use")
    raise Retry("again", after=0)


@queue.handler("die", pool="process", max_attempts=1)
def die() -> None:
    os._exit(3)


@queue.handler("odd", pool="process")
def odd() -> object:
    return object()
