"""Dedup: which key a job has, and which options fit together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import Dedup, Queue
from streamq._core import dedup as _dedup
from streamq._core.dedup import DedupPlan
from streamq.errors import ConfigError, ConflictingOptions, InvalidPayload


def nothing() -> Mapping[str, Any]:
    raise AssertionError("a named key needs no arguments")


@pytest.mark.parametrize(
    ("dedup", "shown"),
    [
        (Dedup("cart:42"), "Dedup('cart:42')"),
        (Dedup("a", mode="throttle", ttl=5), "Dedup('a', mode='throttle', ttl=5.0)"),
        (
            Dedup("a", mode="debounce", ttl=timedelta(seconds=5), max_wait=60),
            "Dedup('a', mode='debounce', ttl=5.0, max_wait=60.0)",
        ),
        (Dedup(by=("contact_id",), scope="group"), "Dedup(by=('contact_id',), scope='group')"),
        (Dedup("a", replace_priority=True), "Dedup('a', replace_priority=True)"),
    ],
)
def test_it_reads_as_it_was_written(dedup: Dedup, shown: str) -> None:
    assert repr(dedup) == shown
    assert eval(shown, {"Dedup": Dedup}) == dedup  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, r"Dedup\(key\)=None: give a key, or by="),
        ({"key": "a", "by": ("b",)}, r"Dedup\(key\)='a': give a key, or by="),
        ({"key": ""}, r"Dedup\(key\)='': use 1 to 128 bytes"),
        ({"key": "a\n"}, r"Dedup\(key\)='a\\n'"),
        ({"key": "ä" * 65}, r"Dedup\(key\)="),
        ({"key": 42}, r"Dedup\(key\)=42"),
        ({"by": "contact_id"}, r"Dedup\(by\)='contact_id': give a tuple of argument names"),
        ({"by": ()}, r"Dedup\(by\)=\(\)"),
        ({"by": ("a b",)}, r"Dedup\(by\)="),
        ({"by": (1,)}, r"Dedup\(by\)="),
        ({"key": "a", "mode": "latest"}, r"Dedup\(mode\)='latest': use simple, throttle, debounce or keep_last"),
        ({"key": "a", "scope": "tenant"}, r"Dedup\(scope\)='tenant'"),
        ({"key": "a", "replace_priority": 1}, r"Dedup\(replace_priority\)=1"),
        ({"key": "a", "mode": "throttle"}, r"Dedup\(ttl\)=None: throttle needs it"),
        ({"key": "a", "mode": "debounce"}, r"Dedup\(ttl\)=None: debounce needs it"),
        ({"key": "a", "ttl": 5}, r"Dedup\(ttl\)=5: belongs to \"throttle\" and \"debounce\", not to simple"),
        ({"key": "a", "mode": "keep_last", "ttl": 5}, r"not to keep_last"),
        ({"key": "a", "mode": "throttle", "ttl": 0}, r"Dedup\(ttl\)=0: must be at least 0.001 s"),
        ({"key": "a", "mode": "throttle", "ttl": 5, "max_wait": 9}, r"Dedup\(max_wait\)=9: belongs to \"debounce\""),
        ({"key": "a", "mode": "debounce", "ttl": 5, "max_wait": 4}, r"Dedup\(max_wait\)=4.0: must be at least ttl"),
        ({"key": "a", "mode": "keep_last", "replace_priority": True}, r"Dedup\(replace_priority\)=True: belongs to"),
    ],
)
def test_what_has_no_meaning_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Dedup(**arguments)


def test_a_named_key_stays_as_it_is_and_times_become_milliseconds() -> None:
    found = _dedup.plan(Dedup("cart:42", mode="debounce", ttl=5, max_wait=60), "send", None, nothing)
    assert found == DedupPlan("debounce", "cart:42", 5000, 60_000)
    assert _dedup.plan(Dedup("a", replace_priority=True), "send", None, nothing).replace_priority


def test_a_key_of_arguments_is_readable_and_knows_its_handler() -> None:
    arguments = {"contact_id": "c_1", "n": 5, "body": "hi"}
    by = Dedup(by=("n", "contact_id"))
    assert _dedup.plan(by, "send", None, lambda: arguments).key == 'send(contact_id="c_1",n=5)'
    assert _dedup.plan(by, "sent", None, lambda: arguments).key != _dedup.plan(by, "send", None, lambda: arguments).key


def test_the_order_of_names_does_not_matter() -> None:
    arguments = {"a": 1, "b": 2}
    keys = {_dedup.key_of("h", by, arguments) for by in (("a", "b"), ("b", "a"), ("a", "b", "a"))}
    assert keys == {"h(a=1,b=2)"}


def test_one_key_for_a_struct_and_for_the_same_plain_data() -> None:
    class Point(msgspec.Struct):
        y: int
        x: int

    plain, struct = {"p": {"x": 1, "y": 2}}, {"p": Point(y=2, x=1)}
    assert _dedup.key_of("h", ("p",), plain) == _dedup.key_of("h", ("p",), struct)
    when = datetime(2030, 1, 1, tzinfo=UTC)
    assert _dedup.key_of("h", ("t",), {"t": when}) == _dedup.key_of("h", ("t",), {"t": "2030-01-01T00:00:00Z"})


def test_defaults_count_as_given() -> None:
    queue = Queue("q")

    @queue.handler("send", dedup=Dedup(by=("to", "channel")))
    async def send(to: str, channel: str = "sms") -> None: ...

    plans = [send.job("a").flow, send.job(to="a", channel="sms").flow, queue.spec("send", {"to": "a"}).flow]
    assert [one.dedup.key for one in plans if one and one.dedup] == ['send(channel="sms",to="a")'] * 3


@pytest.mark.parametrize("name", ["h", "h" * 200])
def test_a_long_key_is_shortened_and_stays_its_own(name: str) -> None:
    keys = {_dedup.key_of(name, ("a",), {"a": "ä" * 200 + str(n)}) for n in range(10)}
    assert len(keys) == 10
    assert all(len(key.encode()) <= 128 for key in keys)


def test_a_missing_argument_is_told() -> None:
    with pytest.raises(InvalidPayload, match=r"arguments of 'send': Dedup\(by\) needs 'to', .*\(body\)"):
        _dedup.key_of("send", ("to",), {"body": ""})


def test_what_cannot_be_text_is_told() -> None:
    with pytest.raises(InvalidPayload, match=r"no key can be made of a"):
        _dedup.key_of("send", ("a",), {"a": object()})


def test_a_group_has_its_own_keys() -> None:
    within = Dedup("k", scope="group")
    assert _dedup.plan(within, "h", "shop_42", nothing).key == "7:shop_42/k"
    with pytest.raises(ConflictingOptions, match=r'Dedup\(scope="group"\) needs a group') as caught:
        _dedup.plan(within, "h", None, nothing)
    assert caught.value.options == ("dedup", "group")


names = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20)


@given(names, names, names, names)
def test_two_groups_never_share_a_key(group: str, key: str, group2: str, key2: str) -> None:
    one = _dedup.plan(Dedup(key, scope="group"), "h", group, nothing).key
    two = _dedup.plan(Dedup(key2, scope="group"), "h", group2, nothing).key
    assert (one == two) == ((group, key) == (group2, key2))
