"""Each example runs as it is, tells the truth, and ends by itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server

FOLDER = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))

# What must be found in the output, in this order.
FACTS = {
    "hello": [r"Enqueued job \w{32}\.", r"^Hello, Ada!$", r"It is completed\."],
    "retries": [
        # RateLimited uses up no attempt: the first one is made twice.
        *(r"attempt 1 of 4 for ada", r"attempt 1 of 4 for ada", r"attempt 2 of 4 for ada", r"attempt 3 of 4 for ada"),
        r"^sent to ada@example.com at attempt 3$",
        r"attempt 1 failed .* ConnectionError: the provider hung up$",
        r"attempt 2 failed .*\bRetry: the provider asked for patience$",
        r"attempt 1 of 4 for nobody",
        r"Given up: no_retry: ValueError\.",
    ],
    "dead_letters": [
        *[r"^Dead: ConnectionError: provider unreachable \(attempts exhausted\)\.$"] * 3,
        *[r"failed 2 times, last: provider unreachable$"] * 3,
        r"would put back 3 jobs",
        r"^Replayed 3,",
        *(r"ada notified", r"grace notified", r"edsger notified"),
        r"^Dead letters left: 0\.$",
    ],
    "delays": [
        r"^Now it is delayed\.$",
        r"^at an instant, never early, \d+ ms late$",
        r"^tomorrow, called forward$",
        r"^The one in an hour is cancelled\.$",
        r"^portion 1, portion 1, portion 2, portion 2, portion 3$",
    ],
    "batches": [
        r"^  one request for acme: \[1, 2, 3\]$",
        r"^contact 1 synced at attempt 1$",
        r"^contact 2 synced at attempt 2$",
        r"^contact 9 synced at attempt 1$",
        r"^  one mail about 3 comments: nice, very nice, thanks$",
    ],
    "delivery": [
        r"^The second reminder is the first one: True$",
        r"^waits in line g:big > r\.twilio; position 22 of 31; ready, its turn comes$",
        r"^One mail about 3 comments: nice, very nice, thanks$",
        r"^Sent first: big: your code is 4711$",
        r"^Those of the small shop were number \d and \d of 33\.$",
        r"^That took [1-9]\.\d s: no more than 10 in any half second\.$",
    ],
    "schedules": [
        r"^3 ticks, 3 jobs, although two workers fire\.$",
        r"^The job of a tick says which: poll@\d{4}-\d\d-\d\dT",
        r"^Once: dentist$",
        r"^weekly_report: every Monday at 09:00 Europe/Athens, next ",
        r"^once: once at .* UTC, over$",
        r"^poll: every 0\.2 seconds, over$",
        r"^Now, not on Monday: 42 pages$",
        r"^Left: \[\]$",
    ],
    "dependencies": [
        r"^the worker opens the database$",
        *(r"count attempt 1: 1 visits", r"count attempt 1: 1 visits", r"count attempt 1: 2 visits"),
        r"^results: \[1, 1, 2\]$",
        r"^the worker has closed the database$",
    ],
    "graceful_shutdown": [
        r"^Two jobs run, one waits\.",
        r"^After its grace it handed back 1\.$",
        r"^The jobs are now: completed, waiting, waiting\.$",
        r"All ended at attempt \[1, 1, 1\]\.$",
    ],
}


def test_every_example_has_its_facts() -> None:
    assert sorted(FACTS) == NAMES


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a newcomer has it, whose embedded server the examples share."""
    return tmp_path_factory.mktemp("project")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded server for Windows")
@pytest.mark.parametrize("name", NAMES)
def test_runs_on_the_embedded_server(name: str, project: Path) -> None:
    # Neither this test run nor a terminal may be what allows the embedded server.
    env = {key: value for key, value in os.environ.items() if key not in {"CI", "PYTEST_CURRENT_TEST"}}

    check(name, env, project)


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_the_server_of_the_environment(name: str, server: Server, prefix: str, tmp_path: Path) -> None:
    check(name, {**os.environ, "STREAMQ_URL": server.url, "STREAMQ_PREFIX": prefix}, tmp_path)

    assert not list(tmp_path.iterdir()), "an embedded server was started"


@pytest.mark.parametrize("name", NAMES)
def test_is_short(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 60


def check(name: str, env: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py"],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = iter(done.stdout.splitlines())
    for fact in FACTS[name]:
        assert any(re.search(fact, line) for line in lines), f"{fact!r} is not told, or not here:\n{done.stdout}"
