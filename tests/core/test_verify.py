"""Which damage facts show. Pure: no server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import streamq
from streamq._core.damage import KINDS, Damage, place_text, text
from streamq._core.verify import EntryFacts, JobFacts, Slots, damages, of_entry, of_job

SOUND = JobFacts(
    b"21-0:0", body=False, due=False, there=True, dead=False, letter=False, mark=False, waiter=False, ended=False
)
NOTHING = SOUND._replace(row=b"", there=False)
WAITING = EntryFacts(
    there=True,
    id=b"a",
    body=True,
    row=b"21-0:0",
    same=True,
    elsewhere=False,
    dead=False,
    owner=b"",
    silent=False,
    past=False,
)
HELD = WAITING._replace(owner=b"w", past=True)


def shown(found: list[Damage]) -> dict[str, str]:
    assert len({one.kind for one in found}) == len(found)
    return {one.kind: one.mend for one in found}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (SOUND, {}),
        (NOTHING, {}),
        (SOUND._replace(mark=True, waiter=True), {}),
        (SOUND._replace(row=b"d2", body=True, due=True), {}),
        (SOUND._replace(row=b"p2send\x000", body=True), {}),
        (SOUND._replace(row=b"f2|\x90", body=True), {}),
        (SOUND._replace(there=False), {"job-lost": "bury"}),
        (SOUND._replace(there=False, body=True), {"row-wrong": "place"}),
        (SOUND._replace(there=False, body=True, due=True), {"row-wrong": "place"}),
        (SOUND._replace(row=b"d2", due=True), {"body-missing": "bury"}),
        (SOUND._replace(row=b"p2send\x000"), {"body-missing": "bury"}),
        (SOUND._replace(body=True), {"body-stray": "unbody"}),
        (SOUND._replace(due=True), {"delayed-stray": "undelay"}),
        (SOUND._replace(dead=True, letter=True), {"dead-alive": ""}),
        (SOUND._replace(dead=True), {"letter-missing": "unletter"}),
        (SOUND._replace(row=b"b2"), {"row-unknown": ""}),
        (NOTHING._replace(body=True), {"row-missing": "place"}),
        (NOTHING._replace(body=True, due=True), {"row-missing": "place"}),
        (NOTHING._replace(body=True, due=True, waiter=True), {"row-missing": "place"}),
        (NOTHING._replace(body=True, ended=True), {"body-stray": "unbody"}),
        (NOTHING._replace(body=True, dead=True, letter=True), {"body-stray": "unbody"}),
        (NOTHING._replace(body=True, dead=True), {"row-missing": "place", "letter-missing": "unletter"}),
        (NOTHING._replace(due=True), {"delayed-stray": "undelay"}),
        (NOTHING._replace(dead=True, letter=True), {}),
        (NOTHING._replace(mark=True, waiter=True), {"mark-stray": "unmark", "waiter-stray": "unwait"}),
    ],
)
def test_a_job(facts: JobFacts, expected: dict[str, str]) -> None:
    assert shown(of_job(b"a", facts)) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (WAITING, {}),
        (HELD, {}),
        (HELD._replace(owner=b"~"), {}),
        (HELD._replace(owner=b"!"), {}),
        (HELD._replace(silent=True), {"pending-silent": "wait"}),
        (WAITING._replace(past=True), {"entry-stuck": "wait"}),
        (WAITING._replace(row=b"", same=False), {"row-missing": "wait"}),
        (WAITING._replace(row=b"3x", same=False), {"row-wrong": "wait"}),
        (WAITING._replace(row=b"d2", same=False, elsewhere=True), {"entry-stray": "drop"}),
        (HELD._replace(row=b"d2", same=False, elsewhere=True), {"entry-stray": "drop"}),
        (WAITING._replace(row=b"", same=False, dead=True), {"entry-stray": "drop"}),
        (HELD._replace(row=b"", same=False), {"row-held": ""}),
        (HELD._replace(row=b"", same=False, silent=True), {"row-missing": "wait"}),
        (HELD._replace(row=b"", same=False, owner=b"~"), {"row-missing": "wait"}),
        (WAITING._replace(id=b"", row=b"", same=False), {"entry-raw": "raw"}),
        (WAITING._replace(body=False, row=b"", same=False), {"entry-raw": "raw"}),
        (HELD._replace(id=b"", row=b"", same=False), {}),
        (HELD._replace(there=False, id=b"", body=False, row=b"", same=False), {"pending-stray": "ack"}),
        (WAITING._replace(there=False, id=b"", body=False, row=b"", same=False), {}),
    ],
)
def test_an_entry(facts: EntryFacts, expected: dict[str, str]) -> None:
    assert shown(of_entry("2", b"1-0", facts)) == expected


def test_what_is_in_the_taken_stream_is_in_somebodys_hands() -> None:
    assert shown(of_entry("t", b"1-0", WAITING._replace(row=b"t1-0:1"))) == {"entry-stuck": "wait"}
    assert of_entry("t", b"1-0", HELD) == []


YES, NO = b"1", b""


@pytest.mark.parametrize(
    ("thing", "facts", "expected"),
    [
        (b"iabc", [b"21-0:0", NO, NO, YES, NO, NO, NO, NO, NO], {}),
        (b"21-0", [YES, b"a", YES, b"21-0:0", YES, NO, NO, NO, NO, NO], {}),
        (b"t1-0", [YES, b"a", YES, b"t1-0:1", YES, NO, NO, b"w", YES, YES], {"pending-silent": "wait"}),
        (b"psend\0a", [YES, b"p2send\x000", YES, YES], {}),
        (b"psend\0a", [YES, NO, NO, NO], {"parked-stray": "unpark"}),
        (b"psend\0a", [NO, NO, NO, NO], {}),
        (b"f212345678a", [YES, b"f2|x", YES, YES, YES], {}),
        (b"f212345678a", [YES, b"f2|x", YES, YES, NO], {"line-lost": "relist"}),
        (b"f212345678a", [YES, b"21-0:0", NO, YES, NO], {"line-stray": "unpin"}),
        (b"x1-0", [YES, b"a", b"1-0", NO], {}),
        (b"x1-0", [YES, b"a", NO, NO], {"letter-unindexed": "letter"}),
        (b"x1-0", [YES, b"a", b"2-0", YES], {"letter-unindexed": "letter"}),
        (b"x1-0", [NO, NO, NO, NO], {}),
        (b"lg:x", [YES, b"r", YES, YES], {}),
        (b"lg:x", [YES, b"r", NO, YES], {}),
        (b"lg:x", [YES, b"p", NO, YES], {"line-stuck": "line"}),
        (b"lg:x", [YES, b"h", YES, NO], {"line-stuck": "line"}),
        (b"gh.a", [b"2", b"2", NO, NO], {}),
        (b"gh.a", [b"2", b"1", NO, NO], {"gate-count": "gate"}),
        (b"gh.a", [b"2", b"1", YES, NO], {"gate-stuck": "gate"}),
        (b"gh.a", [b"1", b"1", NO, YES], {"gate-stuck": "gate"}),
        (b"n", [NO, NO, NO, NO, YES, YES], {}),
        (b"n", [YES, NO, NO, b"2t", NO, NO], {"protocol-missing": "protocol", "group-missing": "group"}),
        (b"n", [NO, YES, YES, NO, NO, NO], {"cancels-count": "cancels", "released-count": "released"}),
        (b"hw", [YES, YES], {}),
        (b"hw", [YES, NO], {"heartbeat-stray": "unbeat"}),
        (b"u2w", [YES, NO, YES], {"consumer-stray": "consumer"}),
        (b"u2w", [YES, YES, YES], {}),
        (b"ra", [YES, YES, YES], {"ttl-missing": "expire"}),
        (b"ra", [YES, NO, YES], {}),
        (b"ep", [YES, NO, YES], {}),
        (b"kw", [YES, NO, YES], {"memo-stray": "forget"}),
        (b"wa", [YES, NO], {"detail-stray": "detail"}),
        (b"wa", [YES, YES], {}),
    ],
)
def test_a_thing(thing: bytes, facts: list[bytes], expected: dict[str, str]) -> None:
    assert shown(damages(thing, facts)) == expected


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (Slots("h.a", 2, 2, 5, 5, 0, 0), set[str]()),
        (Slots("h.a", 3, 2, 5, 5, 0, 0), {"slots-wrong"}),
        (Slots("h.a", 1, 2, 5, 5, 9, 9), {"slots-wrong"}),
        (Slots("h.a", 3, 2, 6, 5, 1, 1), set[str]()),  # the job that nobody looked at may be the third
        (Slots("h.a", 4, 2, 7, 5, 1, 1), {"slots-wrong", "waiting-wrong"}),
        (Slots("h.a", 2, 2, 4, 5, 0, 7), {"waiting-wrong"}),
    ],
)
def test_slots_tell_only_what_is_certain(slots: Slots, expected: set[str]) -> None:
    assert {one.kind for one in slots.damages()} == expected


def test_only_a_job_of_which_nothing_is_left_counts_as_lost() -> None:
    lost = [of_job(b"a", facts) for facts in (SOUND._replace(there=False), NOTHING._replace(due=True))]
    assert all(one.loses for found in lost for one in found)
    kept = of_job(b"a", SOUND._replace(there=False, body=True)) + of_entry("2", b"1-0", HELD._replace(silent=True))
    assert not any(one.loses for one in kept)


def test_every_kind_is_told_somewhere_and_every_repair_is_there() -> None:
    source = Path(streamq.__file__).parent
    told = "\n".join((source / name).read_text() for name in ("_core/verify.py", "_store/audit.py", "verify.py"))
    assert [kind for kind in KINDS if f'"{kind}"' not in told] == []
    lua = "\n".join(path.read_text() for path in (source / "_store" / "lua").rglob("*.lua"))
    mends = set(re.findall(r'Damage\(\s*"[a-z-]+"[^,]*, "(\w+)"', told)) - {
        "slots",
        "deaths",
    }  # mended by Python, a page at a time
    assert len(mends) > 20
    assert [mend for mend in mends if f"function mend.{mend}(" not in lua] == []


def test_words_for_people_hold_no_control_characters() -> None:
    assert text(b"a\n\x1b[31m\xff") == "a\\n\\x1b[31m\\xff"
    assert place_text(b"t1-0:3|\x90") == "in taken stream, entry 1-0"
    assert place_text(b"p2send\x000") == "parked"
    assert place_text(b"?") == "at '?'"


def test_the_page_names_every_kind() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "verify-and-recover.md"
    table = page.read_text("utf-8").partition("## Kinds of damage")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z]+(?:-[a-z]+)?)`", table)) - {"recover"} == set(KINDS)
