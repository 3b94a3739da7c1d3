"""redis-benchmark: what the server alone can take, with no Python at all."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess

from tests.servers import Server, ServerKind

CASES = ((1, 1), (1, 50), (16, 50), (100, 50))
"""Commands in a pipeline, and clients."""


def redis_benchmark(kind: ServerKind, requests: int) -> dict[str, float]:
    """Return the XADDs a second for each case; {} without the program."""
    program = shutil.which("redis-benchmark")
    if program is None:
        return {}
    found: dict[str, float] = {}
    with Server(kind, tcp=True) as server:
        for pipelined, clients in CASES:
            server.command("FLUSHALL")
            count = requests if pipelined > 1 or clients > 1 else requests // 10
            done = subprocess.run(
                [program, "-p", str(server.port), "-n", str(count), "-c", str(clients), "-P", str(pipelined), "--csv",
                 "XADD", "s", "*", "d", "x" * 85],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
            rows = list(csv.reader(io.StringIO(done.stdout)))
            found[f"pipeline {pipelined}, {clients} client{'s' if clients > 1 else ''}"] = float(rows[-1][1])
    return found
