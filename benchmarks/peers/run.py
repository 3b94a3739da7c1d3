"""Measures streamq beside other queues on this machine, each with its own best settings: the one command to repeat it.

    python benchmarks/peers/run.py --json benchmarks/results/peers/redis7.json --page

Needs the environment of the tests (``python -m pip install -e ".[dev,fast]" --group test``), Linux, and Node for
BullMQ. Each contender gets an environment of its own with pinned versions, in a cache folder outside of the repository;
what cannot be installed is left out, and the results say why. Every measure has a fresh server of its own on the
loopback interface and fresh processes; contenders take turns measure by measure, so that a slow minute of the machine
falls on all of them. A process that hangs is killed, by its own id, and its measure has an error instead of figures.
The results are written after every measure: what was interrupted is not lost, and --add goes on with it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers import figures
from benchmarks.peers.environments import ROOT, Environment, MissingError, default_folder
from benchmarks.peers.limits import redis_benchmark
from benchmarks.peers.measures import MEASURES, QUICK, Size
from benchmarks.peers.own import OWN
from benchmarks.peers.roster import ROSTER, USUAL
from benchmarks.peers.stage import HungError, Stage, UnsupportedError
from tests.servers import KINDS

Results = dict[str, Any]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(ROSTER)
    parser.add_argument("--contenders", type=_names(ROSTER), default=list(USUAL), help=f"comma-separated, of: {names}")
    measures = {**MEASURES, **OWN, "redis-benchmark": None}
    parser.add_argument(
        "--measures",
        type=_names(measures),
        default=list(measures),
        help=f"comma-separated, of: {', '.join(measures)}; streamq alone, and once: {', '.join(OWN)}",
    )
    parser.add_argument("--runs", type=int, default=5, help="of every measure; the median counts (5)")
    parser.add_argument("--quick", action="store_true", help="a fraction of the jobs: does everything work? no figures")
    parser.add_argument("--json", type=Path, help="keep every run, medians and ratios in this file")
    parser.add_argument("--add", action="store_true", help="add to the runs in --json instead of starting anew")
    parser.add_argument("--again", action="store_true", help="like --add, but these measures replace those in --json")
    parser.add_argument("--page", action="store_true", help="write docs/explanation/benchmarks.md afterwards")
    parser.add_argument("--server", default="redis7", choices=KINDS)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--patience", type=float, help="seconds to wait for the jobs of a killed worker (90)")
    parser.add_argument("--envs", type=Path, default=default_folder(), help="folder of the contenders' environments")
    parser.add_argument("--python", default=sys.executable, help="makes the environments")
    parser.add_argument("--prepare", action="store_true", help="only install")
    return parser.parse_args(arguments)


def _names(known: Any) -> Any:
    def parse(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(known)}")
        return found

    return parse


class Contest:
    """All runs, and the file they are kept in."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.size: Size = QUICK if given.quick else Size()
        if given.patience is not None:
            self.size = self.size._replace(patience=given.patience)
        self.environments: dict[str, Environment] = {}
        self.results: Results = {
            "what": "peers",
            "quick": given.quick,
            "kind": given.server,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "processor": _processor(),
            "commit": _commit(),
            "size": self.size._asdict(),
            "versions": {},
            "missing": {},
            "records": [],
            "own": {},
            "own_commits": {},
            "limits": {},
        }
        if (given.add or given.again) and given.json is not None and given.json.exists():
            kept: Results = json.loads(given.json.read_text())
            if given.again:
                kept["records"] = [record for record in kept["records"] if record["measure"] not in given.measures]
            names = ("versions", "missing", "records", "own", "own_commits", "limits", "server")
            self.results |= {name: kept[name] for name in names if name in kept}
        self._first = max((record["run"] for record in self.results["records"]), default=-1) + 1

    def prepare(self) -> None:
        """Install every contender; note who cannot take part, and why."""
        for name in self.given.contenders:
            environment = Environment(ROSTER[name], self.given.envs, self.given.python)
            try:
                environment.prepare()
                self.results["versions"][name] = environment.versions()
            except (MissingError, subprocess.TimeoutExpired) as problem:
                self.results["missing"][name] = str(problem)
                print(f"{name} is left out: {problem}", file=sys.stderr)
                continue
            self.results["missing"].pop(name, None)
            self.environments[name] = environment

    def run(self) -> None:
        """Run everything; contenders take turns, and another begins in every run."""
        wanted = [name for name in self.given.measures if name in MEASURES]
        names = list(self.environments)
        for number in range(self._first, self._first + self.given.runs):
            turn = number % max(1, len(names))
            for measure in wanted:
                self._round(names[turn:] + names[:turn], measure, number)
        self._alone()

    def _round(self, names: Sequence[str], measure: str, number: int) -> None:
        if measure != "recover":
            for name in names:
                self._keep(self._measure(name, measure, number))
            return

        def recover(name: str) -> Results:
            return self._measure(name, measure, number)

        with ThreadPoolExecutor(max_workers=14) as pool:  # a recovery is waiting, nearly all of it
            for record in pool.map(recover, names):
                self._keep(record)

    def _alone(self) -> None:
        """Measure what is no contest: streamq's own budgets, and the server."""
        for name in self.given.measures:
            if name in OWN and "streamq" in self.environments:
                print(f"streamq: {name}", file=sys.stderr)

                started = time.monotonic()
                try:
                    self.results["own"][name] = OWN[name](self._open_stage, self.size, quick=self.given.quick)
                    self.results["own_commits"][name] = self.results["commit"]
                    print(f"  {time.monotonic() - started:.0f} s", file=sys.stderr)
                except (HungError, UnsupportedError, OSError) as problem:
                    self.results["own"][name] = {}
                    print(f"  {problem}", file=sys.stderr)
            if name == "redis-benchmark":
                self.results["limits"] = redis_benchmark(self.given.server, 10_000 if self.given.quick else 200_000)
            self.save()

    def _open_stage(self, name: str = "streamq", **more: str) -> Stage:
        if name not in self.environments:  # what streamq's own measures are held against, when it takes no part itself
            environment = Environment(ROSTER[name], self.given.envs, self.given.python)
            environment.prepare()
            return Stage(ROSTER[name], environment, self.given.server, self.given.concurrency, more)
        return Stage(ROSTER[name], self.environments[name], self.given.server, self.given.concurrency, more)

    def _measure(self, name: str, measure: str, number: int) -> Results:
        contender = ROSTER[name]
        record: Results = {"run": number, "contender": name, "measure": measure, "at": _now()}
        if measure in contender.skips:
            return record | {"unsupported": contender.skips[measure]}
        started = time.monotonic()
        try:
            stage = Stage(contender, self.environments[name], self.given.server, self.given.concurrency)
            with stage:
                self.results["server"] = _version(stage)
                record["figures"] = MEASURES[measure](stage, self.size)
        except UnsupportedError as why:
            record["unsupported"] = str(why)
        except (HungError, OSError) as problem:  # a broken pipe is a producer that died
            record["error"] = str(problem)
        return record | {"seconds": round(time.monotonic() - started, 1)}

    def _keep(self, record: Results) -> None:
        self.results["records"].append(record | {"commit": self.results["commit"]})
        found: dict[str, float] = record.get("figures", {})
        told = " ".join(f"{name}={value:,.4g}" for name, value in found.items())
        text = told or record.get("unsupported") or record.get("error")
        print(f"{record['run'] + 1} {record['contender']} {record['measure']}: {text}", file=sys.stderr, flush=True)
        self.save()

    def save(self) -> None:
        """Write the file; a reader never sees half of it."""
        self.results["at"] = _now()
        self.results["medians"] = figures.medians(self.results["records"])
        self.results["advantages"] = figures.advantages(self.results["medians"])
        path: Path | None = self.given.json
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(self.results, indent=1) + "\n")
            beside.replace(path)


def show(results: Results) -> None:
    """Print medians, and how many times better streamq is than each."""
    medians: figures.Medians = results["medians"]
    ratios: figures.Medians = results["advantages"]
    for name, figure in figures.FIGURES.items():
        having = [(values[name], contender) for contender, values in medians.items() if name in values]
        if having:
            print(f"\n{figure.title}, {figure.unit}")
        for value, contender in sorted(having, reverse=figure.more):
            ratio = ratios.get(contender, {}).get(name)
            beside = f"  streamq is {ratio:,.2f}x" if ratio is not None and contender != "streamq" else ""
            print(f"  {contender:16} {value:>14,.2f}{beside}")
    rest: dict[str, dict[str, float]] = {**results["own"], "redis-benchmark, XADD/s": results["limits"]}
    for title, found in rest.items():
        if found:
            print(f"\n{title}")
            for what, value in found.items():
                print(f"  {what:48} {value:>14,.2f}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(stage: Stage) -> str:
    info = stage.server.info("server")
    return info.get("valkey_version") or info["redis_version"]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def main() -> None:
    given = options()
    contest = Contest(given)
    contest.prepare()
    if given.prepare:
        return
    contest.run()
    contest.save()
    show(contest.results)
    if given.page:
        from benchmarks.page import write  # noqa: PLC0415 - only now is there something to write

        write()


if __name__ == "__main__":
    main()
