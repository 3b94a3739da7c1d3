"""PINGs a server at a steady pace until standard input ends, and tells as JSON how long the answers took.

    python probe.py PORT PID

A process of its own: nothing that the measured programs do delays it, but for the machine. When all cores are taken
the answer also waits for this process, or for the server (PID), to get one; Linux tells how long each waited, and
``blocked`` is the answer less the longer of the two waits: what the server itself held it up for. Seconds. Runs with
the standard library alone.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from array import array

EVERY = 0.001


def waited(schedstat: int) -> int:
    """Return the nanoseconds a process has waited for a core so far."""
    return int(os.pread(schedstat, 100, 0).split()[1])


def summary(answers: array[float], blocked: array[float]) -> dict[str, float]:
    """Return count, p50, p99 and the longest."""
    ordered = sorted(answers)
    return {
        "count": len(ordered),
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[int(len(ordered) * 0.99)],
        "longest": ordered[-1],
        "blocked": max(blocked),
    }


def main(port: int, pid: int) -> None:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    mine, server = (os.open(f"/proc/{who}/schedstat", os.O_RDONLY) for who in ("thread-self", pid))
    answers, blocked = array("d"), array("d")
    following = time.perf_counter()
    while not answers or not select.select([sys.stdin], [], [], 0)[0]:
        before, begun = (waited(mine), waited(server)), time.perf_counter()
        connection.sendall(b"PING\r\n")
        told = connection.recv(64)
        took = time.perf_counter() - begun
        if told != b"+PONG\r\n":
            sys.exit(f"no PONG: {told!r}")
        scheduler = max(waited(mine) - before[0], waited(server) - before[1]) / 1e9
        answers.append(took)
        blocked.append(max(0.0, took - scheduler))
        following = max(following + EVERY, time.perf_counter())
        time.sleep(max(0.0, following - time.perf_counter()))
    print(json.dumps(summary(answers, blocked)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
