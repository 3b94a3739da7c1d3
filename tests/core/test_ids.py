"""Job ids are UUIDv7 (RFC 9562, section 5.7) with the partition in the last ten bits."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamq._core import ids

PARTITIONS = st.integers(min_value=0, max_value=1023)


@given(PARTITIONS)
def test_an_id_has_the_layout_of_a_uuid_version_7(partition: int) -> None:
    job_id = ids.new_id(partition)
    parsed = uuid.UUID(job_id)
    assert parsed.hex == job_id
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == ids.created_ms(job_id)


@given(PARTITIONS)
def test_the_partition_can_be_read_back(partition: int) -> None:
    assert ids.partition_of(ids.new_id(partition)) == partition


def test_the_time_is_that_of_the_client() -> None:
    before = time.time_ns() // 1_000_000
    made = ids.created_ms(ids.new_id())
    assert made is not None
    assert before <= made <= time.time_ns() // 1_000_000


def test_ids_sort_by_the_millisecond_they_were_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_700_000_000_000, 1_700_000_000_200))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 1_000_000)
    made = [ids.new_id(n % 1024) for n in range(200)]
    assert made == sorted(made)
    assert [ids.created_ms(one) for one in made] == list(range(1_700_000_000_000, 1_700_000_000_200))


def test_ids_of_one_millisecond_differ_whatever_thread_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(lambda: [ids.new_id() for _ in range(2_500)]) for _ in range(8)]
        made = [one.result() for one in running]
    assert len({one for some in made for one in some}) == 20_000


def test_every_random_bit_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    made = [int(ids.new_id(), 16) for _ in range(200)]
    ever, always = 0, (1 << 128) - 1
    for one in made:
        ever |= one
        always &= one
    fixed = ((1 << 48) - 1) << 80 | 0xF << 76 | 0b11 << 62 | 1023
    assert ever & ~always == ~fixed & ((1 << 128) - 1)


@pytest.mark.parametrize(
    "custom",
    [
        "order-17",
        "",
        uuid.UUID(int=0).hex,
        uuid.uuid4().hex,
        str(uuid.UUID(ids.new_id())),
        ids.new_id().upper(),
        ids.new_id() + "0",
        "f" * 12 + "7" + "f" * 3 + "8" + "f" * 15,  # the year 10889
        "0" * 12 + "7" + "0" * 3 + "8" + "0" * 15,  # 1970
        "018bcfe56800700000000000000000ff",  # version 7, but no RFC variant
    ],
    ids=[
        "word",
        "empty",
        "zero",
        "any uuid",
        "hyphens",
        "capitals",
        "a digit more",
        "year 10889",
        "1970",
        "no variant",
    ],
)
def test_a_custom_id_tells_nothing(custom: str) -> None:
    assert ids.created_ms(custom) is None
    assert ids.partition_of(custom) is None


def test_digests_as_custom_ids_are_hardly_ever_taken_for_ours() -> None:
    digests = [hashlib.md5(b"%d" % n, usedforsecurity=False).hexdigest() for n in range(20_000)]
    assert sum(ids.created_ms(one) is not None for one in digests) < 20


def test_a_child_process_shares_no_noise_with_its_parent() -> None:
    """Both go on from the same memory; ids of one millisecond must differ still."""
    ids.new_id()  # there is noise ahead now
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, ids.new_id().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    ours = [ids.new_id() for _ in range(300)]
    assert len(child) == 32
    assert child[13:] not in {one[13:] for one in ours}
