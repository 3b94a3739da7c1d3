"""deaths: what dead letters died of is counted exactly, whichever verb adds or takes away."""

import itertools

import pytest

from streamq._core.flow import Flow
from streamq._store import desk
from streamq._store.deaths import Deaths, deaths, recount
from streamq.errors import ServerUnfit
from tests.store.snapshot import died_of
from tests.store.stage import ODD_IDS, Lined, Stage, buried, parked, raw, retried

A, B = b"send\0OSError\0away", b"send\0ValueError\0N"
MISSING = b"?\0body missing\0"

HANDS = itertools.count()


async def bury(stage: Stage, *jobs: str, label: bytes = A) -> None:
    """Bury jobs that died of one thing."""
    hand = stage.hand(f"digger{next(HANDS)}")
    await stage.enqueue(*jobs)
    assert await hand.settle(*[buried(job, label=label) for job in await hand.fetch()]) == "a" * len(jobs)


async def counted(stage: Stage) -> dict[bytes, int]:
    """What is counted, after a check that it is so."""
    stage.look()
    found = await deaths(stage.store)
    assert (found.problem, found.exact) == ("", True)
    return {label: one.number for label, one in found.labels.items()}


async def test_where_nothing_died_nothing_is_counted(stage: Stage) -> None:
    found = await deaths(stage.store)
    assert found == Deaths(found.now_ms, 0, {}, exact=True)
    assert found.now_ms > 0


async def test_each_label_has_its_number_its_first_and_its_newest(stage: Stage) -> None:
    await bury(stage, "a1")
    await bury(stage, "b1", label=B)
    await bury(stage, "a2", "a3")
    now = stage.look()
    times = {job: int(entry.split("-")[0]) for job, entry in now.dead_index.items()}
    found = await deaths(stage.store)
    assert found.letters == 4
    assert found.labels == {A: (3, times["a1"], times["a3"], "a3"), B: (1, times["b1"], times["b1"], "b1")}
    assert {fields["g"] for fields in now.dead.values()} == {A, B}


async def test_a_batch_that_is_sent_again_counts_once(stage: Stage) -> None:
    await stage.enqueue("a", "b")
    hand = stage.hand()
    items = [buried(job, label=A) for job in await hand.fetch()]
    assert await hand.settle(*items, items[0]) == "aal"
    assert await hand.again(*items, items[0]) == "aal"
    assert await hand.settle(*items) == "gg"
    assert await counted(stage) == {A: 2}


async def test_plain_ends_leave_no_trace(stage: Stage) -> None:
    await stage.enqueue("a")
    hand = stage.hand()
    await hand.settle(retried(await hand.one()))
    assert stage.look().deaths == {}


async def test_what_is_no_job_counts_under_its_reason(stage: Stage) -> None:
    stage.server.command("XADD", stage.keys.lanes[1], "*", "foo", "bar")
    hand = stage.hand()
    await hand.settle(raw(await hand.one(), label=b"?\0not a job\0"))
    assert await counted(stage) == {b"?\0not a job\0": 1}


async def test_a_job_without_its_envelope_counts_whoever_meets_it(stage: Stage) -> None:
    hand = stage.hand()
    await stage.enqueue("parked", ("delayed", "2", "@1"), ("by hand", "2", "+60000"))
    await hand.settle(parked(await hand.one()))
    await stage.line_up(Lined("in line", Flow(("h.a",))))
    stage.server.command("DEL", stage.keys.bodies)
    await hand.promote()
    assert await desk.promote(stage.store, ["by hand"]) == 0
    assert await hand.unpark("send") == []
    assert await hand.take() == []
    assert await counted(stage) == {MISSING: 4}


async def test_what_is_replayed_is_taken_off(stage: Stage) -> None:
    await bury(stage, "a1", "a2")
    await bury(stage, "b1", label=B)
    jobs = [(job, 2, when, b"new") for job, when in (("a1", "0"), ("b1", "+60000"), ("nobody", "0"), ("a1", "0"))]
    assert await desk.replay(stage.store, jobs) == "aagg"
    assert await counted(stage) == {A: 1}
    assert await desk.replay(stage.store, jobs) == "gggg"
    assert await counted(stage) == {A: 1}
    assert await desk.replay(stage.store, [("a2", 2, "0", b"new")]) == "a"
    assert await counted(stage) == {}
    assert not stage.server.command("EXISTS", stage.keys.deaths)


async def test_what_dies_again_is_counted_again(stage: Stage) -> None:
    await bury(stage, "a", "b")
    await desk.replay(stage.store, [("a", 2, "0", b"new")])
    hand = stage.hand()
    await hand.settle(buried(await hand.one(), label=B))
    assert await counted(stage) == {A: 1, B: 1}


async def test_what_is_purged_is_taken_off_once(stage: Stage) -> None:
    await bury(stage, "a1", "a2", "a3")
    await bury(stage, "b1", "b2", label=B)
    assert await desk.purge(stage.store, ids=["a1", "b1", "a1", "nobody"]) == 2
    assert await counted(stage) == {A: 2, B: 1}
    assert await desk.purge(stage.store, keep=2) == 1
    assert await counted(stage) == {A: 1, B: 1}
    assert await desk.purge(stage.store, keep=0) == 2
    assert await counted(stage) == {}


async def test_beyond_the_thousandth_they_are_not_told_apart(stage: Stage) -> None:
    hand = stage.hand()
    number = 0
    for size in (490, 490, 30):
        for start in range(0, size, 100):
            await stage.enqueue(*[f"j{number + at}" for at in range(start, min(start + 100, size))])
        jobs = await hand.fetch()
        items = [buried(job, label=b"send\0E%d\0" % (number + at)) for at, job in enumerate(jobs)]
        assert await hand.settle(*items) == "a" * size
        number += size
    known = await counted(stage)
    assert (len(known), known[b"other"]) == (1001, 10)
    assert {job for job, label in labels(stage).items() if label == b"other"} == {f"j{n}" for n in range(1000, 1010)}

    await bury(stage, "known", label=b"send\0E7\0")
    await bury(stage, "unknown", label=b"send\0new\0")
    assert (labels(stage)["known"], labels(stage)["unknown"]) == (b"send\0E7\0", b"other")
    # One of the others goes: it was counted there. Then two labels go, and there is room for another.
    assert await desk.purge(stage.store, ids=["unknown", "j3", "j4"]) == 3
    await bury(stage, "later", label=b"send\0new\0")
    known = await counted(stage)
    assert (known[b"other"], known[b"send\0new\0"], len(known)) == (10, 1, 1000)


def labels(stage: Stage) -> dict[str, bytes]:
    return {fields["j"].decode(): fields["g"] for fields in stage.take().dead.values()}


async def test_odd_ids_and_odd_labels(stage: Stage) -> None:
    odd = b"h\0\xff\xfe\0" + b"x" * 2000
    for job in ODD_IDS:
        await bury(stage, job, label=odd)
    found = await deaths(stage.store)
    assert found.labels[odd][::3] == (len(ODD_IDS), ODD_IDS[-1])
    await desk.purge(stage.store, ids=ODD_IDS)
    assert await counted(stage) == {}


async def test_a_letter_of_a_foreign_hand_counts_as_other(stage: Stage) -> None:
    await bury(stage, "a")
    for fields in (("j", "x", "d", "body"), ("j", "y", "g", "#")):
        entry = stage.server.command("XADD", stage.keys.dead, "*", *fields)
        stage.server.command("HSET", stage.keys.dead_index, fields[1], entry)
    assert (await deaths(stage.store)).problem == "1 counted, 3 there"
    await recount(stage.store)
    assert await counted(stage) == {A: 1, b"other": 2}
    assert await desk.purge(stage.store, ids=["x"]) == 1
    assert await counted(stage) == {A: 1, b"other": 1}


@pytest.mark.parametrize("junk", [b"junk", b"\x93\x01\x02", b"\x94\xa1a\x01\x01\xa0", b"\x05", b""])
async def test_a_row_of_a_foreign_hand_is_no_number_and_stops_nobody(stage: Stage, junk: bytes) -> None:
    await bury(stage, "a", "b")
    stage.server.command("HSET", stage.keys.deaths, A, junk)
    assert (await deaths(stage.store)).problem == "0 counted, 2 there"
    await bury(stage, "c")
    assert await desk.purge(stage.store, ids=["a"]) == 1
    await recount(stage.store)
    assert await counted(stage) == {A: 2}


async def test_a_key_of_another_type_is_said_and_left(stage: Stage) -> None:
    """Verbs that move a job in any case go on; what they bury is counted when the way is free again."""
    await stage.enqueue(("a", "2", "@1"))
    stage.server.command("DEL", stage.keys.bodies)
    stage.server.command("SET", stage.keys.deaths, "foreign")
    await stage.hand().promote()
    with pytest.raises(ServerUnfit, match="another type"):
        await deaths(stage.store)
    assert stage.server.command("GET", stage.keys.deaths) == b"foreign"
    stage.server.command("DEL", stage.keys.deaths)
    await recount(stage.store)
    assert died_of(stage.look()) == {"?\0body missing\0": 1}
