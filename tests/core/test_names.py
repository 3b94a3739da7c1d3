"""Names at the edge: they become Redis keys, metric labels and log lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq._core import names
from streamq._store.keys import Keys
from streamq.errors import ConfigError


@pytest.mark.parametrize("name", ["a", "delivery:send", "x" * 200, "eu-1/orders@v2.1_b"])
def test_ordinary_names_pass(name: str) -> None:
    assert names.checked("queue", name) == name


@pytest.mark.parametrize(
    "name", ["", "x" * 201, "two words", "tab\t", "line\n", "{tag}", "a}b", "naïve", "a\0b", "*", None, 7, b"bytes"]
)
def test_other_names_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^handler=.*use 1 to 200 letters") as caught:
        names.checked("handler", name)
    assert caught.value.value == name


@pytest.mark.parametrize("prefix", ["", "a/b", "a@b", "x" * 101, "a{b", "a b", None])
def test_a_prefix_is_stricter_still(prefix: Any) -> None:
    assert names.checked_prefix("app-1.prod:eu_2") == "app-1.prod:eu_2"
    with pytest.raises(ConfigError, match=r"^prefix="):
        names.checked_prefix(prefix)


@given(st.text(max_size=12))
def test_every_name_that_passes_keeps_the_hash_tag_whole(name: str) -> None:
    try:
        queue = names.checked("queue", name)
    except ConfigError:
        return
    key = Keys("streamq", queue, 3).index
    assert key.count(b"{") == key.count(b"}") == 1
    assert key[key.index(b"{") + 1 : key.index(b"}")] == f"{queue}:3".encode()


def test_text_is_printable_and_bounded() -> None:
    assert names.checked_text("job_id", "Straße 7, 1st floor") == "Straße 7, 1st floor"
    for wrong in ("", "x" * 201, "a\nb", "a\0b", "\x1b[31m", "\ud800", "a\u202eb", None, 5):
        with pytest.raises(ConfigError, match=r"^job_id=.*use 1 to 200 printable characters"):
            names.checked_text("job_id", wrong)


def test_headers_are_few_small_text_pairs() -> None:
    good = {"x-request-id": "7", "traceparent": ""}
    assert names.checked_headers(good) == good


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("a", "b")], "give a dict of str to str"),
        (None, "give a dict of str to str"),
        ({"a": 1}, r"headers\['a'\]=1: header values are str"),
        ({1: "a"}, "headers=1"),
        ({"": "a"}, "headers=''"),
        ({"a\nb": "c"}, "printable"),
        ({str(n): "" for n in range(65)}, "<65 pairs>': at most 64 headers"),
        ({"a": "x" * 8192}, "<8193 characters>': at most 8 KiB"),
    ],
)
def test_other_headers_are_refused(headers: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        names.checked_headers(headers)
