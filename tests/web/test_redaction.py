"""What is hidden, how deep, and what stands in its place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streamq.web.redaction import DEPTH, Hidden, Redaction
from streamq.web.rest.table import encode


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("password", "hunter2", "<hidden: text of 7>"),
        ("userPassword", "x", "<hidden: text of 1>"),
        ("API_KEY", "x", "<hidden: text of 1>"),
        ("pin", 1234, "<hidden: number>"),
        ("cvv", True, "<hidden: true or false>"),
        ("auth_token", ["a", "b"], "<hidden: list of 2>"),
        ("secrets", {"a": 1}, "<hidden: object of 1>"),
        ("password", None, None),
        ("opinion", "fine", "fine"),
        ("name", "ada", "ada"),
    ],
)
def test_names_are_hidden_by_default(name: str, value: object, shown: object) -> None:
    assert Redaction().clean({name: value}) == {name: shown}


def test_however_deep_and_in_lists() -> None:
    payload = {"users": [{"name": "ada", "login": {"password": "x"}}], "note": "password"}

    assert Redaction().clean(payload) == {
        "users": [{"name": "ada", "login": {"password": "<hidden: text of 1>"}}],
        "note": "password",
    }


def test_a_pattern_with_a_dot_is_a_path() -> None:
    hide = Redaction(["customer.phone", "*.iban", "address.*"])
    payload = {
        "phone": "1",
        "customer": {"phone": "2", "address": {"city": "x"}},
        "accounts": [{"iban": "3"}],
        "order": {"customer": {"phone": "4"}},
    }

    assert hide.clean(payload) == {
        "phone": "1",
        "customer": {"phone": "<hidden: text of 1>", "address": {"city": "<hidden: text of 1>"}},
        "accounts": [{"iban": "<hidden: text of 1>"}],
        "order": {"customer": {"phone": "<hidden: text of 1>"}},
    }


def test_nothing_is_hidden_when_nothing_is_asked_for() -> None:
    assert Redaction([]).clean({"password": "x"}) == {"password": "x"}


def test_what_is_given_is_left_as_it_is() -> None:
    payload = {"a": {"password": "x"}}
    Redaction().clean(payload)
    assert payload == {"a": {"password": "x"}}


def test_endless_depth_ends() -> None:
    deep: Any = "x"
    for _ in range(DEPTH * 4):
        deep = [deep]
    shown = Redaction().clean({"a": deep})
    assert encode(shown).count(b"[") <= DEPTH + 1
    assert b"<hidden: list of 1>" in encode(shown)


def test_headers_with_dashes() -> None:
    shown = Redaction().headers({"X-Api-Key": "k", "authorization": "Bearer x", "x-request-id": "7"})
    assert shown == {"X-Api-Key": "<hidden: text of 1>", "authorization": "<hidden: text of 8>", "x-request-id": "7"}


def test_a_hidden_value_is_known_as_one_and_travels_as_text() -> None:
    shown = Redaction().clean({"password": "x"})
    assert isinstance(shown["password"], Hidden)
    assert msgspec.json.decode(encode(shown)) == {"password": "<hidden: text of 1>"}
