"""What the command line understands, without any process or server."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streamq._cli import loader, logs, options, say, show
from streamq._cli.main import COMMANDS, cli
from streamq._core.units import parse_duration
from streamq.errors import AppImportError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("250ms", 0.25), ("1.5", 1.5), ("1 m 30 s", 90)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m", "-3s", "1h30", "s5", "1e3"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


def test_rates_and_states_and_instants() -> None:
    assert options.rate("50/s") == options.rate("50") == 50
    assert options.rate("600/m") == 10
    assert options.state("failed") == "dead"
    assert options.instant("2030-01-31T09:00:00Z") == datetime(2030, 1, 31, 9, tzinfo=UTC)
    for wrong, convert in (("0/s", options.rate), ("x", options.state), ("2030-01-31T09:00:00", options.instant)):
        with pytest.raises(click.BadParameter):
            convert(wrong)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0004, "0.4 ms"),
        (0.812, "812 ms"),
        (41, "41 s"),
        (90, "1 m 30 s"),
        (11_520, "3 h 12 m"),
        (324_000, "3 d 18 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert say.duration(seconds) == words


def test_ago() -> None:
    now = datetime.now(UTC)
    assert say.ago(now - timedelta(seconds=41)) == "41 s ago"
    assert say.ago(now + timedelta(seconds=90.2)) == "in 1 m 30 s"
    assert say.ago(datetime(2020, 1, 2, tzinfo=UTC)) == "2020-01-02 00:00Z"


def test_payloads_keep_their_keys_and_hide_their_values() -> None:
    payload = {"to": "maria@example.org", "n": 3, "deep": {"list": [1, 2]}, "no": None, "on": True}
    shown = show.masked(payload)
    assert shown == {
        "to": "<hidden: text of 17>",
        "n": "<hidden: number>",
        "deep": {"list": "<hidden: list of 2>"},
        "no": None,
        "on": "<hidden: true or false>",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_names_its_variables(name: str) -> None:
    runner = CliRunner()
    assert runner.invoke(cli, [name, "--help"]).exit_code == 0
    group = {one: [one, "list"] for one in ("jobs", "dlq", "cron", "limits")} | {"dedup": ["dedup", "get"]}
    found = runner.invoke(cli, [*group.get(name, [name]), "--help-env"], prog_name="streamq")
    assert found.exit_code == 0, found.output
    assert all(line.startswith("STREAMQ_") for line in found.output.splitlines())


def test_the_variables_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMQ_WORKER_GRACE", "soon")
    found = CliRunner().invoke(cli, ["worker", "app:queue"], prog_name="streamq")
    assert found.exit_code == 2
    assert "'soon' is no duration" in found.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wrker app:queue", "did you mean 'worker'?"),
        ("jobs retry", "give ids, or --all"),
        ("jobs retry x --all", "not both"),
        ("jobs retry --all --state completed", "cannot be retried"),
        ("jobs list --state nope", "is no state that can be listed"),
        ("dlq purge", "give ids, or --all"),
        ("pause", "name the queues, or say --all"),
        ("send x --at 2030-01-01T00:00:00", "has no time zone"),
        ("send x pair", "write key=value"),
        ("send x --data [1]", "no JSON object"),
        ("send x --data {", "is not JSON"),
        ("send x --data @/no/such/file", "cannot read --data"),
        ("worker app:queue --loop trio", "--loop"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_right(line: str, said: str) -> None:
    found = CliRunner().invoke(cli, line.split(), prog_name="streamq")
    assert found.exit_code == 2, found.output
    assert said in found.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from streamq._cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "heavy = {'redis', 'asyncio', 'hiredis', 'msgspec', 'streamq.queue', 'streamq.errors'} & set(sys.modules)\n"
        "print('heavy', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Exit codes:" in done.stdout
    assert "heavy []" in done.stdout


def test_the_live_probe_imports_nothing_but_the_command_line(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from streamq._cli.main import cli\n"
        "print(cli.main(['health', '--live'], standalone_mode=False))\n"
        "print('got', sorted(n for n in sys.modules if n in ('redis', 'asyncio', 'msgspec')"
        " or n.startswith('streamq.') and not n.startswith('streamq._cli')))\n"
    )
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines() == ["no worker runs here", "1", "got []"]


def test_version() -> None:
    found = CliRunner().invoke(cli, ["--version"])
    assert found.output.startswith("streamq ")


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("", "nomodule_x:queue", "no module 'nomodule_x'"),
        ("import nomodule_y", "{m}:queue", "imports 'nomodule_y', which is not installed ({m}.py, line 1)"),
        ("x = 1\nx.y", "{m}:queue", "raised AttributeError"),
        ("def (", "{m}:queue", "raised SyntaxError"),
        ("raise SystemExit(3)", "{m}:queue", "raised SystemExit"),
        ("from streamq import Queue\nqueue = Queue('q')", "{m}:queu", "did you mean {m}:queue?"),
        ("from streamq import Queue\nqueue = Queue('q')", "{m}:zzz", "it has {m}:queue"),
        ("zzz = 3", "{m}:zzz", "is a int"),
        ("zzz = 3", "{m}", "names no attribute"),
    ],
)
def test_an_app_that_cannot_be_loaded_says_why(
    source: str, target: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"m{abs(hash((source, target)))}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(AppImportError) as caught:
        loader.load([target.format(m=module)], str(tmp_path))
    assert said.format(m=module) in str(caught.value)


def test_what_to_run_is_found_in_arguments_variables_and_pyproject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert loader.targets([], None) == []
    (tmp_path / "pyproject.toml").write_text('[tool.streamq]\napp = "service:queue"\n')
    assert loader.targets([], None) == ["service:queue"]
    monkeypatch.setenv("STREAMQ_APP", "a:b, c:d")
    assert loader.targets([], None) == ["a:b", "c:d"]
    assert loader.targets([], "e:f") == ["e:f"]
    assert loader.targets(["g:h"], "e:f") == ["g:h"]


def _record(**extra: object) -> logging.LogRecord:
    record = logging.LogRecord("streamq.job", logging.INFO, __file__, 1, "job %s", ("succeeded",), None)
    vars(record).update(extra)
    return record


def test_json_logs_have_every_extra_key_as_a_field() -> None:
    line = json.loads(logs.JsonFormatter().format(_record(job_id="j1", duration=0.5, event="succeeded", tenant=None)))
    assert line["message"] == "job succeeded"
    assert (line["level"], line["logger"], line["job_id"], line["duration"]) == ("info", "streamq.job", "j1", 0.5)
    assert "tenant" not in line
    assert datetime.fromisoformat(line["time"]).timestamp() == pytest.approx(time.time(), abs=60)


def test_plain_logs_are_one_line_of_pairs() -> None:
    line = logs.PlainFormatter().format(_record(job_id="j1", duration=0.5, reason="two words", event="succeeded"))
    assert line.endswith('INFO    job succeeded job_id=j1 duration=500ms reason="two words"')


def test_rich_logs_name_handler_and_job(capsys: pytest.CaptureFixture[str]) -> None:
    logs.RichHandler().emit(_record(job_id="j1", handler="math:add", duration=0.5, event="succeeded", attempt=1))
    shown = capsys.readouterr().err
    assert "math:add" in shown
    assert "j1" in shown
    assert "500ms" in shown


def test_init_writes_an_app_once(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    runner = CliRunner()
    assert "streamq dev" in runner.invoke(cli, ["init", str(path)]).output
    assert runner.invoke(cli, ["init", str(path)], prog_name="streamq").exit_code == 2
    assert runner.invoke(cli, ["init", str(path), "--force"]).exit_code == 0
    compile(path.read_text(), str(path), "exec")
