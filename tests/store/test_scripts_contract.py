"""Lua files keep their habits: a header that says everything, one verb a file, nothing unbounded. No server needed."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from importlib import resources
from typing import Any, NamedTuple

import pytest

from streamq._core.lifecycle import TRANSITIONS
from streamq._store import scripts
from streamq._store.keys import CATALOGUE, Keys

LUA = resources.files("streamq._store").joinpath("lua")
FILES = {one.name.removesuffix(".lua"): one.read_text("utf-8") for one in LUA.iterdir() if one.name.endswith(".lua")}
PARTS = {one.name.removesuffix(".lua"): one.read_text("utf-8") for one in LUA.joinpath("settle").iterdir()}
SHARED = {one.name.removesuffix(".lua"): one.read_text("utf-8") for one in LUA.joinpath("flow").iterdir()}
ALL = {
    **FILES,
    **{f"settle/{name}": text for name, text in PARTS.items()},
    **{f"flow/{name}": text for name, text in SHARED.items()},
}

ONLY_FOR_LINES = {"limited", "divert"}
"""Parts of settle that the plain build does not have."""

ELSEWHERE = {"end": "finish", "reclaim": "tick"}
"""Verbs whose file is called otherwise: ``end`` is a word of Lua; reclaiming is a part of the tick."""

TYPES = ("hash", "stream", "streams", "zset", "list", "string", "strings")


FLOW_KEYS = "keys of flow control"


class Header(NamedTuple):
    """The comment a file begins with, by its sections."""

    name: str
    sections: dict[str, str]

    def numbered(self, section: str) -> tuple[int, bool]:
        """How many KEYS or ARGV are described, and whether any number may follow."""
        text = re.sub(r"\([^)]*\)", "", self.sections[section]).strip()
        if text == "none":
            return 0, False
        fixed, *rest = re.split(r"; then per |, then per |; then ", text)
        count, is_open = 0, bool(rest)
        for item in fixed.split(";"):
            if FLOW_KEYS in item:  # as many as there are: flow/_open.lua knows their order
                is_open = True
                continue
            found = re.match(r"\s*(?:in the build for lines also: )?(\d+)(?:-(\d+)|(\.\.))? \S", item)
            assert found, f"not numbered: {item!r}"
            assert int(found[1]) == count + 1, f"out of order: {item!r}"
            assert not is_open or rest, f"after an open end: {item!r}"
            count = int(found[2] or found[1])
            is_open = is_open or bool(found[3])
        return count, is_open


def header(source: str) -> Header:
    lines: list[str] = []
    for line in source.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    text = " ".join(lines)
    pieces = re.split(r"\b(KEYS|ARGV|Reply|Errors|Replay|Item|Fence|Order): ", text)
    sections = dict(zip(pieces[1::2], (one.strip() for one in pieces[2::2]), strict=True))
    return Header(pieces[0].partition(":")[0], sections)


VERBS = sorted(scripts.VERBS.keys() | scripts.LINES.keys())
BUILDS = [
    *(pytest.param(scripts.script(verb), id=f"{verb}-plain") for verb in sorted(scripts.VERBS)),
    *(pytest.param(scripts.lines_script(verb), id=f"{verb}-lines") for verb in sorted(scripts.LINES)),
]


def code(source: str) -> str:
    """The source without comments and without what strings say."""
    return re.sub(r"--[^\n]*", "", source)


# -- one verb, one file ----------------------------------------------------------------------------------------------


def test_a_verb_is_a_file_and_a_file_is_a_verb() -> None:
    assert {name for name in FILES if not name.startswith("_")} == set(VERBS)


def test_every_shared_file_is_put_in_front_of_some_verb() -> None:
    builds = [*scripts.VERBS.values(), *scripts.LINES.values()]
    used = {part for parts in builds for part in parts}
    ours = {f"{name}.lua" for name in FILES if name.startswith("_")}
    assert used == ours | {f"settle/{name}.lua" for name in PARTS} | {f"flow/{name}.lua" for name in SHARED}
    assert all(parts[0] == "_prelude.lua" for parts in builds)


def test_a_plain_job_pays_nothing_for_lines() -> None:
    plain = {part for parts in scripts.VERBS.values() for part in parts}
    assert not [part for part in plain if part.startswith("flow/")]
    assert plain & {f"settle/{part}.lua" for part in ONLY_FOR_LINES} == set()
    for verb in scripts.VERBS.keys() & scripts.LINES.keys():
        source = scripts.script(verb).source.decode()
        assert [name for name, text in SHARED.items() if text in source] == []
        assert len(source) < len(scripts.lines_script(verb).source)


def test_every_build_for_lines_has_the_parts_of_flow_control_in_one_order() -> None:
    first, *others = [[part for part in parts if part.startswith("flow/")] for parts in scripts.LINES.values()]
    common = [part for part in first if all(part in other for other in others)]
    assert common
    for parts in (first, *others):
        assert parts[: len(common)] == common


def test_every_verb_of_the_state_machine_has_its_file() -> None:
    verbs = {one.verb for one in TRANSITIONS}
    missing = [verb for verb in verbs if ELSEWHERE.get(verb, verb) not in {*VERBS, *PARTS}]
    assert missing == []
    assert ELSEWHERE.keys() <= verbs
    settled = {ELSEWHERE.get(verb, verb) for verb in verbs} & PARTS.keys()
    assert settled == PARTS.keys(), "a part of settle without an arrow in TRANSITIONS"


# -- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_header_says_keys_arguments_reply_and_what_a_replay_does(verb: str) -> None:
    found = header(FILES[verb])
    assert found.name == verb
    assert {"KEYS", "ARGV", "Reply", "Replay"} <= found.sections.keys()
    assert all(text for text in found.sections.values())


@pytest.mark.parametrize("verb", VERBS)
def test_keys_are_numbered_with_their_types(verb: str) -> None:
    found = header(FILES[verb])
    assert found.numbered("KEYS")[0] >= 1
    has_flow = FLOW_KEYS in found.sections["KEYS"]
    assert has_flow == (verb in scripts.LINES)
    assert ("build for lines" in found.sections["KEYS"]) == (verb in scripts.LINES and verb in scripts.VERBS)
    for item in found.sections["KEYS"].split(";"):
        if FLOW_KEYS in item:
            continue
        assert set(re.findall(r"\w+", item)) & set(TYPES), f"of what type? {item!r}"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["KEYS", "ARGV"])
def test_what_the_code_uses_is_described_and_the_reverse(verb: str, kind: str) -> None:
    count, is_open = header(FILES[verb]).numbered(kind)
    used = {int(number) for number in re.findall(rf"{kind}\[(\d+)\]", code(FILES[verb]))}
    assert not used or max(used) <= count or is_open
    computed = re.search(rf"{kind}\[[^\]]*[A-Za-z]", code(FILES[verb]))
    described = set(range(1, count + 1))
    assert computed or used == described or (is_open and used > described), "described, but not used"


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_of_settle_says_its_arguments_as_its_function_takes_them(part: str) -> None:
    found = header(PARTS[part])
    assert ELSEWHERE.get(found.name, found.name) == part
    function = re.search(rf"^local function {part}\(batch, item(?:, )?([^)]*)\)", PARTS[part], re.MULTILINE)
    assert function, f"no function {part}(batch, item, ...)"
    takes = [one for one in function[1].split(", ") if one]
    assert bool(takes) == ("Item" in found.sections)
    declared = {int(number) for number in re.findall(rf"\{{{part}, (\d)", FILES["settle"])}
    # A record is handed over as a key (item.record) and an argument, or, for a plain completion, not at all.
    assert declared
    assert max(declared) == len(takes)


# -- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ALL))
def test_nothing_is_unpacked_without_a_bound(name: str) -> None:
    assert re.findall(r"unpack\(\s*(?:ARGV|KEYS)\s*\)", code(ALL[name])) == []


@pytest.mark.parametrize("name", sorted(ALL))
def test_no_command_scans_and_no_key_is_made_up(name: str) -> None:
    text = code(ALL[name])
    commands = set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", text))
    assert commands or name.startswith(("flow/", "_tally_settled"))
    assert commands & {"KEYS", "SCAN", "HSCAN", "SSCAN", "ZSCAN", "SMEMBERS", "XTRIM", "FLUSHDB", "EVAL"} == set()
    assert re.findall(r"KEYS\[[^\]]+\]\s*\.\.", text) == [], "a key built in Lua breaks Redis Cluster"
    if name == "stats":  # bounded counters, a few of them (_tally.lua)
        text = text.replace("'HGETALL', KEYS[n]", "")
    assert re.findall(r"'HGETALL', (?!KEYS\[1\]|flow\.keys\.rules)", text) == [], "only meta hash and rules are small"


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_string_never_outlives_its_use(name: str) -> None:
    for call in re.findall(r"redis\.p?call\(\s*'SET',[^\n]*", code(ALL[name])):
        assert "'PX'" in call


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_clock_is_read_in_one_place(name: str) -> None:
    assert ("'TIME'" in code(ALL[name])) == (name == "_prelude")
    assert "os.time" not in code(ALL[name])


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_line_fits_the_page(name: str) -> None:
    assert [number for number, line in enumerate(ALL[name].splitlines(), 1) if len(line) > 120] == []


# -- assembled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", BUILDS)
def test_a_script_is_known_by_the_digest_of_what_is_sent(made: scripts.Script) -> None:
    assert made.sha == hashlib.sha1(made.source, usedforsecurity=False).hexdigest().encode()
    assert scripts.by_sha(made.sha) is made
    assert made.call([b"k1", b"k2"], 7, b"a") == [b"EVALSHA", made.sha, 2, b"k1", b"k2", 7, b"a"]


def test_only_what_adds_jobs_or_events_is_refused_when_memory_is_short() -> None:
    builds = [*map(scripts.script, scripts.VERBS), *map(scripts.lines_script, scripts.LINES)]
    refused = {made.name for made in builds if not made.source.startswith(b"#!lua flags=allow-oom\n")}
    allowed = {made.name for made in builds if made.source.startswith(b"#!lua flags=allow-oom\n")}
    assert refused == {"enqueue", "replay", "fire", "emit"}
    assert not refused & allowed, "both builds of a verb are alike in this"


@pytest.mark.skipif(importlib.util.find_spec("lupa") is None, reason="lupa is in the group lint")
@pytest.mark.parametrize("made", BUILDS)
def test_the_whole_of_a_script_is_lua_5_1_without_globals_of_its_own(made: scripts.Script) -> None:
    lua: Any = importlib.import_module("lupa.lua51").LuaRuntime()
    source = re.sub(r"\A#![^\n]*", "", made.source.decode())
    assert lua.compile(source) is not None
    assigned = set(re.findall(r"^\s*(?!local\b|function\b)([a-z_]\w*) = ", code(source), re.MULTILINE))
    declared = {
        one for names in re.findall(r"\blocal ([\w, ]+)", source) for one in names.split(" = ")[0].split(", ")
    } | set(re.findall(r"(?:function \w+|for)[ (]([\w, ]+)", source))
    known = {one.strip() for names in declared for one in names.split(",")}
    in_tables = set(re.findall(r"[{,]\s*(\w+) = ", code(source)))
    assert assigned - known - in_tables == set(), "Redis refuses globals when the line runs, not when it loads"


# -- keys ------------------------------------------------------------------------------------------------------------


def test_the_catalogue_names_every_key_and_how_long_it_lives() -> None:
    keys = Keys("streamq", "q")
    named: set[str] = set()
    attributes: dict[str, bytes | tuple[bytes, ...]] = vars(keys)
    for attribute, value in attributes.items():
        some = value if isinstance(value, tuple) else (value,)
        if attribute not in {"base", "control", "done"}:  # a prefix, and two channels
            named |= {one.removeprefix(keys.base).decode() for one in some}
    named |= {
        one.removeprefix(keys.base).decode()
        for one in (keys.record("<id>"), keys.producer_memo(b"<producer>"), keys.worker_memo(b"<worker>"))
    }
    assert keys.minutes(600_000).removeprefix(keys.base) == b"n:1"
    named.add("n:<ten minutes>")
    listed: set[str] = set()
    for row in CATALOGUE:
        first, _, last = row.suffix.partition(" .. ")
        listed |= {f"{first[0]}{n}" for n in range(int(first[1:]), int(last[1:]) + 1)} if last else {first}
        assert row.lifetime
        assert row.holds
        assert row.kind in TYPES
    assert named == listed
    assert len({row.suffix for row in CATALOGUE}) == len(CATALOGUE)
