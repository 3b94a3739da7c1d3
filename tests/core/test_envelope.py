"""The job as it travels: small, readable by newer and older workers, and never more than MALFORMED when hostile."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq import Exponential, Fixed, Linear
from streamq._core import envelope as wire
from streamq._core.envelope import AttemptError, Envelope, Record

NO_ARGUMENTS = msgspec.Raw(b"\x80")
ARGS = msgspec.msgpack.encode({"contact_id": "c_1", "body": "hi"})


def an_error(attempt: int) -> AttemptError:
    return AttemptError(attempt, "ValueError", "no", "Traceback ...", 1_700_000_000_000, 12, "w1")


FULL = Envelope(
    name="delivery:send",
    args=msgspec.Raw(ARGS),
    attempts=3,
    hop=4,
    max_attempts=9,
    backoff=Exponential(1),
    timeout_ms=5000,
    headers={"x-request-id": "7"},
    tenant="shop_42",
    expires_ms=1_700_000_000_000,
    deadline_ms=1_700_000_100_000,
    keep_result=True,
    errors=[an_error(1), an_error(2), an_error(3)],
    created_ms=1_699_999_999_999,
    origin="flow",
    lane=0,
)


def fields(data: bytes) -> dict[str, Any]:
    return msgspec.msgpack.decode(data, type=dict[str, Any])


# -- size ------------------------------------------------------------------------------------------------------------


def test_a_plain_envelope_is_21_bytes_around_its_arguments() -> None:
    # The budget says about 25. Of them 13 are the handler's name.
    data = wire.encode(Envelope(name="delivery:send", args=msgspec.Raw(ARGS), lane=2))
    assert len(data) - len(ARGS) == 21
    assert fields(data) == {"n": "delivery:send", "a": {"contact_id": "c_1", "body": "hi"}}


@pytest.mark.parametrize(
    ("change", "key", "cost"),
    [
        ({"lane": 1}, "l", 3),
        ({"attempts": 1}, "k", 3),
        ({"hop": 1}, "h", 3),
        ({"max_attempts": 3}, "m", 3),
        ({"timeout_ms": 30_000}, "t", 5),
        ({"tenant": "shop_42"}, "tn", 11),
        ({"headers": {"a": "b"}}, "hd", 8),
        ({"keep_result": True}, "kr", 4),
        ({"deadline_ms": 1_700_000_000_000}, "dl", 12),
        ({"expires_ms": 1_700_000_000_000}, "x", 11),
        ({"backoff": Fixed(5)}, "b", 23),
    ],
)
def test_an_option_costs_only_where_it_is_used(change: dict[str, Any], key: str, cost: int) -> None:
    plain = Envelope(name="delivery:send", args=msgspec.Raw(ARGS))
    data = wire.encode(wire.replaced(plain, **change))
    assert set(fields(data)) == {"n", "a", key}
    assert len(data) - len(wire.encode(plain)) == cost


def test_empty_defaults_are_left_out_and_shared_with_nobody() -> None:
    one, other = Envelope(name="x"), wire.decode(b"\x81\xa1n\xa1x")
    one.errors.append(an_error(1))
    one.headers["a"] = "b"
    assert other == Envelope(name="x")
    assert set(fields(wire.encode(other))) == {"n"}
    assert set(fields(wire.encode(Record(state="dead")))) == {"s"}


# -- reading ---------------------------------------------------------------------------------------------------------


def test_an_envelope_comes_back_as_it_was() -> None:
    assert wire.decode(wire.encode(FULL)) == FULL
    for backoff in (Fixed(1), Linear(2, max=9), Exponential(3, factor=4)):
        assert wire.decode(wire.encode(Envelope(name="x", backoff=backoff))).backoff == backoff


def test_left_out_arguments_are_no_arguments() -> None:
    assert wire.decode(b"\x81\xa1n\xa1x").args == NO_ARGUMENTS
    assert wire.plain(NO_ARGUMENTS) == {}


def test_unknown_fields_are_ignored() -> None:
    data = msgspec.msgpack.encode({**fields(wire.encode(FULL)), "zz": [1, {"a": None}], "future": b"\0"})
    assert wire.decode(data) == FULL
    record = msgspec.msgpack.encode({"s": "dead", "zz": 1})
    assert wire.decode_record(record) == Record(state="dead")


def test_an_older_attempt_error_without_its_last_field_is_read() -> None:
    data = msgspec.msgpack.encode({"n": "x", "er": [[1, "E", "m", "t", 5, 6]]})
    assert wire.decode(data).errors == [AttemptError(1, "E", "m", "t", 5, 6, "")]


def test_the_head_of_a_newer_version_is_readable_whatever_became_of_the_rest() -> None:
    newer = msgspec.msgpack.encode({"v": 2, "n": "mail:send", "a": 7, "k": "three", "b": {"x": 1}, "er": "none"})
    with pytest.raises(wire.MALFORMED):
        wire.decode(newer)
    head = wire.decode_head(newer)
    assert (head.name, head.version) == ("mail:send", 2)


def test_our_own_version_is_the_default_of_the_head() -> None:
    assert wire.decode_head(wire.encode(Envelope(name="x"))).version == wire.WIRE_VERSION == 1


# -- hostile bytes ---------------------------------------------------------------------------------------------------

DECODERS = (wire.decode, wire.decode_head, wire.decode_record, wire.plain)


def feed(data: bytes) -> None:
    for decode in DECODERS:
        with suppress(*wire.MALFORMED):
            decode(data)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_malformed(data: bytes) -> None:
    feed(data)
    feed(b"\x82\xa1n\xa1x" + data)
    feed(b"\x82\xa1n\xa1x\xa1b" + data)


@given(st.data())
def test_damaged_envelopes_raise_nothing_but_malformed(data: st.DataObject) -> None:
    whole = bytearray(wire.encode(FULL))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    feed(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    feed(bytes(whole))


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*(one.encode_name for one in msgspec.structs.fields(Envelope)), "s", "r", "p", "w", "f", "d"])


@given(st.dictionaries(KEYS, VALUES | st.tuples(st.sampled_from("fle"), NUMBERS, NUMBERS), max_size=8))
def test_maps_of_wrong_values_raise_nothing_but_malformed(value: dict[str, Any]) -> None:
    feed(msgspec.msgpack.encode({"n": "x", **value}))


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\x91" * 100_000,
        b"\x81\xa1n" * 10_000,
        b"\x82\xa1n\xa1x\xa1a" + b"\x91" * 100_000,
        b"\x81\xa1n\xdb\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1n\xa2\xff\xfe",
        b"\x82\xa1n\xa1x\xa1l\x63",
        b"\x82\xa1n\xa1x\xa1l\xff",
    ],
    ids=["empty", "deep", "deep maps", "deep args", "long string", "wide map", "not utf-8", "lane 99", "lane -1"],
)
def test_known_tricks_are_malformed(hostile: bytes) -> None:
    with pytest.raises(wire.MALFORMED):
        wire.plain(wire.decode(hostile).args)
    feed(hostile)


# -- history ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 60))
def test_the_history_keeps_the_first_error_and_the_latest(attempts: int) -> None:
    history: list[AttemptError] = []
    for attempt in range(1, attempts + 1):
        history = wire.with_error(history, an_error(attempt))
    kept = [error.attempt for error in history]
    assert kept == list(range(1, attempts + 1))[:1] + list(range(2, attempts + 1))[-(wire.ERRORS_KEPT - 1) :]
    assert len(kept) <= wire.ERRORS_KEPT


def test_the_history_given_is_left_alone() -> None:
    given_history = [an_error(1)]
    assert len(wire.with_error(given_history, an_error(2))) == 2
    assert given_history == [an_error(1)]


def test_replaced_leaves_the_original_alone() -> None:
    changed = wire.replaced(FULL, attempts=4)
    assert (FULL.attempts, changed.attempts) == (3, 4)
    assert wire.replaced(changed, attempts=3) == FULL


@given(st.text() | st.text(st.characters(categories=["Cs", "Ll"])))
def test_text_can_always_be_encoded_and_is_left_alone_if_it_could(value: str) -> None:
    found = wire.text(value)
    found.encode()
    assert len(found) == len(value)
    with suppress(UnicodeEncodeError):
        value.encode()
        assert found == value


@given(st.text(max_size=30), st.binary(max_size=40), st.integers(0, 4))
def test_a_plain_job_is_encoded_like_any_other(name: str, args: bytes, lane: int) -> None:
    """By a head that is kept per name; the bytes on the wire must not tell."""
    data = msgspec.msgpack.encode({"b": args})
    assert wire.encode_plain(name, data, lane) == wire.encode(Envelope(name=name, args=msgspec.Raw(data), lane=lane))
