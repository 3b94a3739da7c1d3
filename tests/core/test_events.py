"""Events as values: kinds, what is kept of one, places in the stream. Pure: no server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamq import Event
from streamq._core import events, units
from streamq._core.events import KINDS
from streamq.errors import ConfigError


def test_an_event_is_read_as_it_was_written() -> None:
    data = events.encode_data({"attempt": 2, "last": True})
    fields = {b"k": b"failed", b"j": "é€".encode(), b"n": b"send", b"d": data}
    found = events.read("mail", "1700000000123-4", fields)
    assert (found.id, found.kind, found.job_id, found.name, found.queue) == (
        "1700000000123-4", "failed", "é€", "send", "mail"
    )  # fmt: skip
    assert found.data == {"attempt": 2, "last": True}
    assert found.at.timestamp() == 1_700_000_000.123


def test_an_event_of_a_newer_version_or_a_foreign_hand_is_read_all_the_same() -> None:
    found = events.read("mail", "5-0", {b"k": b"teleported", b"d": b"{nonsense", b"j": b"\xff"})
    assert (found.kind, found.data, found.name) == ("teleported", {}, "")


def test_an_event_is_json() -> None:
    found = json.loads(events.read("mail", "5-0", {b"k": b"dead", b"j": b"1"}).json())
    assert found == {
        "id": "5-0", "at": "1970-01-01T00:00:00.005000Z", "kind": "dead", "job_id": "1", "name": "", "data": {},
        "queue": "mail",
    }  # fmt: skip


def test_no_data_takes_no_bytes() -> None:
    assert events.encode_data({}) == b""
    assert isinstance(Event("", units.from_ms(0), "added").data, dict)


def test_kinds_are_all_none_or_those_named() -> None:
    assert events.checked_kinds("events", True) == frozenset(KINDS)  # noqa: FBT003 - as users write it
    assert events.checked_kinds("events", False) == frozenset()  # noqa: FBT003 - as users write it
    assert events.checked_kinds("events", ["dead", "failed"]) == {"dead", "failed"}
    for wrong in ("dead", ["died"], 5, [["dead"]]):
        with pytest.raises(ConfigError) as caught:
            events.checked_kinds("events", wrong)
        assert "dead" in caught.value.remedy


@pytest.mark.parametrize("place", [None, "0", "0-0", "1700000000123-4", "1700000000123"])
def test_places(place: str | None) -> None:
    assert events.checked_place("after", place) == place


@pytest.mark.parametrize("place", ["", "$", "+", "-", "a-1", "1-b", "1-", "1" * 60, "(1-1"])
def test_what_is_no_place(place: Any) -> None:
    with pytest.raises(ConfigError):
        events.checked_place("after", place)
