"""Errors carry their data as attributes, say what to do next, and keep both on the way between processes."""

from __future__ import annotations

import inspect
import pickle

import pytest

from streamq import errors
from streamq.errors import StreamqError

KINDS = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, StreamqError)}

RAISED: list[StreamqError] = [
    errors.ConfigError("timeout", -1, "must be at least 0 s"),
    errors.UnknownHandler("mail", "sned", ["send"], "; did you mean 'send'?"),
    errors.UnknownLimit("twillio", ["twilio", "sendgrid"]),
    errors.ConflictingOptions(("debounce", "delay"), "debounce and delay cannot be combined: drop one."),
    errors.InvalidPayload("send", "missing required field `body`"),
    errors.PayloadTooLarge("send", 300_000, 262_144),
    errors.RedisUnavailable("redis://localhost", "connection refused"),
    errors.ServerUnfit("redis://localhost", "Redis 6.2", "use 7.0 or later"),
    errors.VersionMismatch("redis://localhost", "mail", "2", 1),
    errors.EnqueueError("no"),
    errors.EnqueueTimeout("id", 10.0, "no connection"),
    errors.EnqueueUnknown("id", "connection lost"),
    errors.EnqueueManyError(["a"], ["b"], {"c": errors.QueueFull("mail", "c", 5)}),
    errors.QueueFull("mail", "id", 1000),
    errors.GroupFull("mail", "shop_42", "id", 10_000, 10_000),
    errors.JobStateError("id", "remove", "active", "cancel it"),
    errors.ScheduleUnknown("mail", "dialy", hint="; did you mean 'daily'?"),
    errors.ResultError("id", "has no result"),
    errors.JobDead("id", "attempts exhausted", "ValueError", "no"),
    errors.JobCancelled("id", "stale"),
    errors.JobExpired("id"),
    errors.ResultExpired("id", 3600.0),
    errors.ResultUnavailable("id", "too large"),
    errors.JobUnknown("id"),
    errors.AppImportError("app:queue", "no module app", "run it where app.py is"),
    StreamqError("base"),
]


def test_no_error_is_left_out_here_nor_in_the_tree_of_the_module() -> None:
    assert {type(one) for one in RAISED} == set(KINDS.values())
    assert [name for name in KINDS if name not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_crosses_a_process_boundary_as_it_is(error: StreamqError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, as a process pool sends them
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {name: str(value) for name, value in vars(copy).items()} == {
        name: str(value) for name, value in vars(error).items()
    }


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line_of_text(error: StreamqError) -> None:
    assert str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        ("ConfigError", ValueError),
        ("InvalidPayload", ValueError),
        ("RedisUnavailable", ConnectionError),
        ("EnqueueTimeout", TimeoutError),
    ],
)
def test_those_with_a_builtin_relative_are_caught_by_it(kind: str, builtin: type[Exception]) -> None:
    assert issubclass(KINDS[kind], builtin)


def test_whether_a_failed_enqueue_was_sent_is_said() -> None:
    assert not errors.EnqueueTimeout.sent
    assert errors.EnqueueUnknown.sent


def test_a_full_group_says_what_to_do() -> None:
    error = errors.GroupFull("delivery", "shop_42", "id", 10_000, 10_000)
    assert isinstance(error, errors.EnqueueError)
    assert str(error) == (
        "group 'shop_42' of 'delivery' has 10000 waiting jobs (limit 10000). Retry later or raise Group(size=)."
    )
