"""What CI runs, and what you run: `python -m pip install nox && python -m nox`.

Plain venv and pip throughout. A Python that is not installed is skipped, never failed.
"""

import atexit
import json
import os
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROJECT = nox.project.load_toml("pyproject.toml")
CLEAN = {"STREAMQ_URL": None, "REDIS_URL": None, "REDIS_HOST": None, "STREAMQ_ENV": "development"}

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # nox itself turns this on where it sees CI
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = [
    "lint", "types", "docs", "package", "roundtrips", "examples", "simulation", "chaos_smoke", "tests",
]  # fmt: skip

# pyenv's shims refuse to run a Python that is not the selected one; its real folders do not.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
for _python in PYTHONS:
    for _found in sorted(_PYENV.glob(f"versions/{_python}.*/bin")):
        os.environ["PATH"] = f"{_found}{os.pathsep}{os.environ['PATH']}"


# Runs the whole: processes, command line, documentation and faults as well.
OLDEST = next((one for one in PYTHONS if shutil.which(f"python{one}")), PYTHONS[0])


DOUBTFUL = 3
"""Tests of one run that may fail the first time and pass the second; more of them are no accident."""

TESTS_FAILED = 1  # pytest's exit code

doubtful: list[str] = []


def group(*names: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, *names))


def shared(session: nox.Session) -> Callable[..., object]:
    # These sessions need the same packages, so they share one environment beside nox's own.
    home = ROOT / ".nox" / "shared"
    python = home / "bin" / "python"
    if not python.exists():
        session.run(sys.executable, "-m", "venv", str(home), external=True)
    install = ["install", "--quiet", "-e", ".[dev,fast]", *group("test")]
    session.run(str(python), "-m", "pip", *install, external=True)

    def run(module: str, *args: str) -> object:
        # First on PATH, so that tests which start `streamq` or `pyright` find this environment's.
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        return session.run(str(python), "-m", module, *args, env={**CLEAN, "PATH": path}, external=True)

    return run


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, spelling, the import contract, the syntax of the Lua files: seconds."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    session.run("lint-imports", env={"PYTHONPATH": "src"})
    session.run("python", "tools/check_lua.py")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Mypy and pyright, both strict."""
    run = shared(session)
    run("mypy")
    run("pyright")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Everything but chaos on the oldest Python found; on the others what depends on the Python."""
    # uvloop and uuid-utils are optional: present in the shared environment, absent here.
    session.install("-e", ".[dev]", *group("test"))
    whole = session.python == OLDEST
    if whole:
        find_browser(session)
    # Round trips, examples and the simulation have sessions of their own; the pair matrix plays all at once by itself.
    apart = [f"--ignore=tests/{room}" for room in ("gates", "examples", "simulation", "matrix")]
    rest = ["tests", *apart] if whole else [f"tests/{room}" for room in ("core", "store", "worker")]
    # Much of a test is waiting, so they share the cores. A file stays together: some prepare all their cases at once.
    spread = ["--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile"]
    play(session, *spread, *rest)
    if whole:
        nothing_chosen = 5
        play(session, "tests/matrix", codes=[0, nothing_chosen] if session.posargs else [0])


@nox.session(venv_backend="none")
def roundtrips(session: nox.Session) -> None:
    """Commands and round trips per job: counted, never timed."""
    shared(session)("pytest", "tests/gates", *session.posargs)


@nox.session(venv_backend="none")
def examples(session: nox.Session) -> None:
    """Run each file of examples/."""
    shared(session)("pytest", "tests/examples", *session.posargs)


@nox.session(venv_backend="none")
def simulation(session: nox.Session) -> None:
    """2,000 simulated worlds on all cores, and the broker in memory beside the real servers: two minutes."""
    shared(session)("pytest", "tests/simulation", *session.posargs)


@nox.session(venv_backend="none")
def chaos_smoke(session: nox.Session) -> None:
    """The quick part of the chaos tests."""
    shared(session)("pytest", "-m", "chaos and not slow", *session.posargs)


@nox.session(venv_backend="none", default=False)
def chaos(session: nox.Session) -> None:
    """100,000 jobs under 2,000 faults on three servers: an hour or two; in pieces by `-- --seeds 1-3`."""
    shared(session)("tests.chaos.run", *session.posargs)


@nox.session(venv_backend="none", default=False)
def simulate(session: nox.Session) -> None:
    """Play 10,000 simulated worlds and count what they met: some minutes; others by `-- --seeds 0-999`."""
    shared(session)("tests.simulation.report", *session.posargs)


@nox.session(venv_backend="none", default=False)
def chaos_scale(session: nox.Session) -> None:
    """A million delayed jobs, 10,000 schedules, 200 workers: minutes, and a gigabyte."""
    shared(session)("pytest", "-m", "chaos and slow", "tests/chaos", *session.posargs)


@nox.session(venv_backend="none", default=False)
def mutants(session: nox.Session) -> None:
    """Put deliberate defects into a copy of the source, one by one: the tests must notice each."""
    shared(session)("pytest", "-m", "mutants", "tests/mutants", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-e", ".", *group("docs"))
    session.run("zensical", "build", "--clean", "--strict")


@nox.session
def package(session: nox.Session) -> None:
    """Build, then use the wheel in empty environments: bare, with extras, and on the lowest dependencies."""
    session.install("build")
    temp = Path(session.create_tmp()).resolve()  # the commands below run in another folder
    dist, empty = temp / "dist", temp / "empty"
    shutil.rmtree(empty, ignore_errors=True)  # an embedded server's jobs are kept in its folder
    empty.mkdir()
    session.run("python", "-m", "build", "--outdir", str(dist))
    wheel = max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    check_wheel(session, wheel)

    board = "[dashboard,dev]"
    floors, all_floors = lowest(dependencies()), lowest([*dependencies(), *dependencies("dashboard")])
    for extra, pins in (("", []), ("[dev]", []), ("[dev]", floors), (board, []), (board, all_floors)):
        venv = temp / "venv"
        session.run("python", "-m", "venv", "--clear", str(venv))
        python = str(venv / "bin" / "python")
        session.run(python, "-m", "pip", "install", "--quiet", f"{wheel}{extra}", *pins, external=True)
        with session.chdir(empty):
            session.run(python, "-c", "import streamq", external=True)
            for words in (["--version"], ["--help"], *([["demo", "--jobs", "50"]] if extra else [])):
                session.run(str(venv / "bin" / "streamq"), *words, env=CLEAN, external=True)
            if extra == board:
                session.run(python, str(ROOT / "tools" / "ask_dashboard.py"), env=CLEAN, external=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks; arguments after -- are passed on."""
    session.install("-e", ".[dev,fast]", *group("test", "bench"))
    session.run("python", "benchmarks/streamq_bench.py", *session.posargs, env=CLEAN)


@nox.session(default=False)
def peers(session: nox.Session) -> None:
    """Measure other queues beside streamq: an hour; arguments after -- are passed on."""
    session.install("-e", ".[dev,fast]", *group("test", "bench"))
    session.run("python", "benchmarks/peers/run.py", *session.posargs, env=CLEAN)


def play(session: nox.Session, *args: str, codes: list[int] | None = None) -> None:
    """Run pytest; up to `DOUBTFUL` tests that failed are run again, alone, and named at the end whatever comes of it.

    Thousands of tests on real servers and two cores: one that fails for want of a processor must not cost the run, and
    must not be overlooked either, because what it found may be a race of ours. See docs/decisions/0030-second-try.md.
    """
    cache = ROOT / ".nox" / "failed" / session.name
    shutil.rmtree(cache, ignore_errors=True)
    kept = ("-o", f"cache_dir={cache}")
    try:
        session.run("pytest", *kept, *args, *session.posargs, env=CLEAN, success_codes=codes or [0])
    except nox.command.CommandFailed as problem:
        failed = failures(cache)
        # Any other code than that of failed tests means that not all of them were run.
        if getattr(problem, "return_code", None) != TESTS_FAILED or not 0 < len(failed) <= DOUBTFUL:
            raise
        session.warn(f"run again, alone: {', '.join(failed)}")
        session.run("pytest", *kept, *failed, env=CLEAN)
        session.warn(f"FLAKY, passed the second time; find out why: {', '.join(failed)}")
        doubtful.extend(failed)


def failures(cache: Path) -> list[str]:
    found = cache / "v" / "cache" / "lastfailed"
    return list(json.loads(found.read_text())) if found.exists() else []


@atexit.register
def tell_the_doubtful() -> None:
    for one in doubtful:
        sys.stderr.write(f"FLAKY: {one}\n")


def find_browser(session: nox.Session) -> None:
    """Fetch playwright's Chromium where none is on PATH; without one the browser's tests are skipped."""
    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return
    # The libraries it needs come from the system's packages, which only root may install.
    needs = ["--with-deps"] if os.geteuid() == 0 and shutil.which("apt-get") else []
    try:
        session.run("python", "-m", "playwright", "install", *needs, "chromium", silent=True)
    except nox.command.CommandFailed:
        session.warn("no chromium could be fetched: the tests that need a browser are skipped")


def dependencies(extra: str = "") -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"][extra] if extra else project["dependencies"]


def lowest(wanted: list[str]) -> list[str]:
    return [f"{name}=={floor.split(',')[0]}" for name, floor in (one.split(">=") for one in wanted)]


def check_wheel(session: nox.Session, wheel: Path) -> None:
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    missing = wanted - set(zipfile.ZipFile(wheel).namelist())
    if missing:
        session.error(f"not in the wheel: {', '.join(sorted(missing))}")
