"""Every option is checked where it enters: a wrong value names the option, the value and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest

from streamq import (
    Dedup,
    Exponential,
    Fixed,
    HandlerOptions,
    JobOptions,
    Linear,
    Priority,
    Queue,
    QueueOptions,
)
from streamq._core.lifecycle import Policy
from streamq._core.options import DEFAULT, Checked, check_handler, check_job
from streamq.errors import ConfigError

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001
DEFAULTS = Policy(max_attempts=5, backoff=Exponential(1), timeout_ms=30_000)


def by_function(attempt: int) -> float:
    return attempt


# option -> (a value, the field of Checked it becomes, that field's value)
GOOD_JOB: dict[str, list[tuple[Any, str, Any]]] = {
    "delay": [(0, "when", "0"), (1.5, "when", "+1500"), (timedelta(days=1), "when", "+86400000")],
    "at": [(NOON, "when", f"@{NOON_MS}")],
    "priority": [(one, "lane", int(one)) for one in Priority],
    "max_attempts": [(1, "max_attempts", 1), (10_000, "max_attempts", 10_000)],
    "backoff": [(one, "backoff", one) for one in (Fixed(1), Linear(1), Exponential(1))],
    "timeout": [(0.5, "timeout_ms", 500), (timedelta(minutes=1), "timeout_ms", 60_000)],
    "job_id": [("order 17", "job_id", "order 17")],
    "headers": [({"x-request-id": "7"}, "headers", {"x-request-id": "7"}), ({}, "headers", {})],
    "tenant": [("shop_42", "tenant", "shop_42")],
    "expires_in": [(60, "expires_in_ms", 60_000)],
    "deadline": [(NOON, "deadline_ms", NOON_MS)],
    "keep_result": [(True, "keep_result", True), (False, "keep_result", False)],
    "group": [("shop_42", "group", "shop_42"), ("ä" * 64, "group", "ä" * 64)],
    "rate_key": [("twilio", "rate_key", "twilio")],
    "cost": [(1, "cost", 1), (5, "cost", 5)],
    "dedup": [(Dedup("cart:42"), "dedup", Dedup("cart:42"))],
}

BAD_TEXT: list[tuple[Any, str]] = [
    ("", "1 to 128 bytes"), ("ä" * 65, "1 to 128 bytes"), ("a\n", "printable text"), (42, "text"), (None, "text")
]  # fmt: skip
BAD_COUNT: list[tuple[Any, str]] = [
    (0, "whole number from 1"), (-1, "from 1"), (True, "from 1"), (1.5, "from 1"), ("9", "from 1"), (10**10, "from 1")
]  # fmt: skip
BAD_RATE: list[tuple[Any, str]] = [(50, "give RateLimit(count, per=seconds)"), ("50/s", "give RateLimit")]
BAD_DEDUP: list[tuple[Any, str]] = [("cart:42", 'give Dedup("key")'), (None, "give Dedup")]
BAD_KEY: list[tuple[Any, str]] = [
    ("to", "'to' is no argument"),
    (5, "name of an argument, or a function"),
    (str, "or a"),
]

BAD_JOB: dict[str, list[tuple[Any, str]]] = {
    "delay": [(-1, "at least 0 s"), ("5", "give seconds"), (True, "give seconds"), (10**10, "not milliseconds")],
    "at": [(NAIVE, "is naive; add a time zone"), (NOON_MS, "give an aware datetime"), ("noon", "give an aware")],
    "priority": [(1, "use Priority"), ("high", "use Priority"), (True, "use Priority"), (99, "use Priority")],
    "max_attempts": [(0, "from 1 to 10,000"), (10_001, "from 1"), (2.0, "from 1"), (True, "from 1"), ("5", "from 1")],
    "backoff": [(5, "Fixed, Linear or Exponential"), (by_function, "functions belong to handlers"), (Fixed, "single")],
    "timeout": [(0, "at least 0.001 s"), (-1, "at least"), (30_000_000_000, "not milliseconds"), ("1", "give seconds")],
    "job_id": [("", "printable"), ("a\nb", "printable"), ("x" * 201, "1 to 200"), (7, "printable")],
    "headers": [([], "dict of str to str"), ({"a": 1}, "header values are str"), (None, "dict of str to str")],
    "tenant": [("", "printable"), ("a\0", "printable"), (42, "printable")],
    "expires_in": [(0, "at least 0.001 s"), (-5, "at least"), (NOON, "give seconds")],
    "deadline": [(NAIVE, "is naive"), (60, "give an aware datetime"), (timedelta(hours=1), "give an aware datetime")],
    "keep_result": [("no", "give True or False"), (1, "give True or False"), (None, "give True or False")],
    "group": BAD_TEXT,
    "rate_key": BAD_TEXT,
    "cost": BAD_COUNT,
    "dedup": BAD_DEDUP,
}

BAD_HANDLER: dict[str, list[tuple[Any, str]]] = {
    "max_attempts": BAD_JOB["max_attempts"],
    "backoff": [(5, "give Fixed"), (None, "give Fixed"), (Exponential, "give Fixed"), ("exponential", "give Fixed")],
    "timeout": BAD_JOB["timeout"],
    "no_retry": [
        (ValueError, "give a tuple of exception classes"),
        ([ValueError], "give a tuple of exception classes"),
        (("ValueError",), "give a tuple of exception classes"),
        ((ValueError(),), "give a tuple of exception classes"),
        ((int,), "give a tuple of exception classes"),
    ],
    "priority": BAD_JOB["priority"],
    "keep_result": BAD_JOB["keep_result"],
    "pool": [("fork", '"thread" or "process"'), ("async", '"thread" or "process"')],
    "concurrency": BAD_COUNT,
    "rate_limit": BAD_RATE,
    "rate_key": BAD_KEY,
    "on_limit": [("raise", "use one of 'wait', 'drop', 'bury'"), (None, "use one of")],
    "concurrency_key": BAD_KEY,
    "key_concurrency": [*BAD_COUNT, (2, "is for each value of concurrency_key=")],
    "on_conflict": [("cancel", "use one of 'queue', 'drop', 'cancel_running'"), (None, "use one of")],
    "dedup": [("cart:42", 'give Dedup("key")')],
}

BAD_QUEUE: dict[str, list[tuple[Any, str]]] = {
    "url": [],  # checked by the connection that uses it
    "prefix": [("a b", "1 to 100"), ("a{b}", "1 to 100"), (7, "1 to 100")],
    "max_attempts": BAD_JOB["max_attempts"],
    "backoff": BAD_HANDLER["backoff"],
    "timeout": BAD_JOB["timeout"],
    "max_pending": [(0, "whole number from 1"), (-1, "from 1"), (True, "from 1"), (1.5, "from 1"), ("9", "from 1")],
    "max_payload": [(0, "whole number from 64"), (63, "from 64"), (10**9, "to 67,108,864"), ("1MB", "from 64")],
    "keep_completed": [(1000, "give Keep"), (None, "give Keep")],
    "keep_dead": [(timedelta(days=30), "give Keep"), (None, "give Keep")],
    "result_ttl": [(0, "at least 1 s"), (-1, "at least 1 s"), ("1h", "give seconds"), (10**10, "not milliseconds")],
    "enqueue_timeout": [(0, "at least 0.001 s"), (None, "give seconds")],
    "lanes": [("fair", 'give "strict"'), (None, 'give "strict"'), ({"critical": 1}, "give 'high' a weight")],
    "max_wait": [(0, "at least 0.05 s"), ("1m", "give seconds")],
    "rate_limit": BAD_RATE,
    "global_concurrency": BAD_COUNT,
    "group": [(5, "give Group("), ("shop_42", "give Group(")],
    "limits": [
        ([], "give a dict"),
        (None, "give a dict"),
        ({"a": "80/s"}, "give RateLimit(count, per=seconds), or a concurrency"),
        ({"a": True}, "give RateLimit"),
        ({"a": 0}, "whole number from 1"),
        ({"a b": 1}, "1 to 200 letters"),
        ({"a=b": 1}, "1 to 200 letters"),
        ({"a" * 129: 1}, "1 to 128 bytes"),
        ({5: 1}, "1 to 200 letters"),
    ],
    "tracing": [("on", "use one of 'link', 'parent', 'off'"), (True, "use one of"), (None, "use one of")],
    "health": [("ok", "give HealthPolicy("), (None, "give HealthPolicy(")],
    "alerts": [("dead > 5", "give AlertRule("), ((5,), "give AlertRule("), (None, "give AlertRule(")],
    "events": [
        ("all", "give True, False, or a set of added,"),
        (5, "give True, False, or a set of added,"),
        (("dies",), "is no kind of event; there are added,"),
    ],
    "keep_events": [(0, "whole number from 1"), ("9", "from 1"), (10**8, "to 10,000,000")],
}


def rows(table: dict[str, list[Any]]) -> list[Any]:
    return [pytest.param(name, *row, id=f"{name}-{n}") for name, some in table.items() for n, row in enumerate(some)]


@pytest.mark.parametrize(
    ("table", "options"),
    [(GOOD_JOB, JobOptions), (BAD_JOB, JobOptions), (BAD_HANDLER, HandlerOptions), (BAD_QUEUE, QueueOptions)],
)
def test_no_option_is_left_out_here(table: dict[str, Any], options: Any) -> None:
    assert set(table) == set(get_type_hints(options))


@pytest.mark.parametrize(("option", "value", "field", "expected"), [*rows({k: [*v] for k, v in GOOD_JOB.items()})])
def test_a_good_job_option(option: str, value: Any, field: str, expected: Any) -> None:
    options: Any = {option: value}
    checked = check_job(options)
    assert getattr(checked, field) == expected
    others = {name for name in Checked.__struct_fields__ if getattr(checked, name) != getattr(DEFAULT, name)}
    assert others <= {field}


def refuse(check: Callable[[], object], option: str, value: Any, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check()
    error = caught.value
    assert error.option.startswith(option)
    assert remedy in error.remedy
    assert str(error) == f"{error.option}={error.value!r}: {error.remedy}"
    alone = not isinstance(value, dict | tuple)
    assert error.value is value or not alone


@pytest.mark.parametrize(("option", "value", "remedy"), rows(BAD_JOB))
def test_a_bad_job_option(option: str, value: Any, remedy: str) -> None:
    options: Any = {option: value}
    refuse(lambda: check_job(options), option, value, remedy)


@pytest.mark.parametrize(("option", "value", "remedy"), rows(BAD_HANDLER))
def test_a_bad_handler_option(option: str, value: Any, remedy: str) -> None:
    def handler() -> None: ...

    options: Any = {option: value}
    refuse(lambda: Queue("q").handler("h", **options)(handler), option, value, remedy)


@pytest.mark.parametrize(("option", "value", "remedy"), rows(BAD_QUEUE))
def test_a_bad_queue_option(option: str, value: Any, remedy: str) -> None:
    options: Any = {option: value}
    refuse(lambda: Queue("q", **options), option, value, remedy)


def check_handler_options(options: Any) -> object:
    return check_handler(options, DEFAULTS)


def check_queue_options(options: Any) -> object:
    return Queue("q", **options)


@pytest.mark.parametrize("check", [check_job, check_handler_options, check_queue_options])
def test_an_unknown_option_is_told_the_known_ones(check: Callable[[Any], object]) -> None:
    with pytest.raises(ConfigError, match=r"^max_attempt=3: is no \w+ option; there are .*max_attempts"):
        check({"max_attempt": 3})


def test_no_options_are_the_defaults_themselves() -> None:
    assert check_job({}) is DEFAULT
    assert check_handler({}, DEFAULTS) == DEFAULTS


def test_delay_and_at_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"at=.*give delay= or at=, not both"):
        check_job({"delay": 1, "at": NOON})


@pytest.mark.parametrize(("delay", "expires", "fits"), [(10, 10, False), (11, 10, False), (9, 10, True), (0, 1, True)])
def test_a_job_that_would_expire_before_its_delay_is_refused(delay: float, expires: float, *, fits: bool) -> None:
    if fits:
        check_job({"delay": delay, "expires_in": expires})
    else:
        with pytest.raises(ConfigError, match="could never start"):
            check_job({"delay": delay, "expires_in": expires})


def test_headers_are_not_shared_between_jobs() -> None:
    one, other = check_job({"delay": 1}), check_job({"delay": 1})
    one.headers["a"] = "b"
    assert other.headers == DEFAULT.headers == {}


def test_a_handler_takes_what_it_does_not_say_from_its_queue() -> None:
    assert check_handler({"timeout": 5}, DEFAULTS) == Policy(5, DEFAULTS.backoff, 5000)
    assert check_handler({"timeout": None}, DEFAULTS).timeout_ms is None
    assert check_handler({"max_attempts": 1}, DEFAULTS).max_attempts == 1
    assert check_handler({"no_retry": (KeyError, ValueError)}, DEFAULTS).no_retry == (KeyError, ValueError)
    assert check_handler({"backoff": by_function}, DEFAULTS).backoff is by_function


def test_priorities_are_five_and_the_first_is_served_first() -> None:
    assert [one.name for one in sorted(Priority)] == ["CRITICAL", "HIGH", "NORMAL", "LOW", "BACKGROUND"]
    assert [int(one) for one in Priority] == [0, 1, 2, 3, 4]


def test_the_pools_are_the_two_of_the_documentation() -> None:
    assert get_args(get_type_hints(HandlerOptions)["pool"]) == ("thread", "process")
