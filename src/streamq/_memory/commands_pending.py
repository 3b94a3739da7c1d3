"""Commands on pending entries: read for a consumer, acknowledge, claim, list."""

from __future__ import annotations

from typing import NamedTuple

from .arguments import SYNTAX, Args, CommandError, shown, unsupported, whole
from .commands_streams import Entry, entry_reply
from .streams import LAST, Group, Id, Stream, end_of, id_text, parse_id, start_of
from .values import Keyspace

Claimed = list[bytes | Entry]
Listed = list[list[bytes | int]]
Summary = list[int | bytes | list[list[bytes]] | None]

IDLE_PROBLEM = "ERR Invalid min-idle-time argument for {}"


def xreadgroup(space: Keyspace, args: Args) -> list[list[bytes | list[Entry]]] | None:
    """XREADGROUP GROUP group consumer COUNT n STREAMS key >: new entries of one stream."""
    if (
        len(args) != 8
        or [args[0].upper(), args[3].upper(), args[5].upper()] != [b"GROUP", b"COUNT", b"STREAMS"]
        or args[7] != b">"
    ):
        raise unsupported("XREADGROUP but of the form GROUP group consumer COUNT n STREAMS key >")
    name, consumer, count, key = args[1], args[2], whole(args[4]), args[6]
    stream = space.find(key, Stream)
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise CommandError(
            f"NOGROUP No such key '{shown(key)}' or consumer group '{shown(name)}' in XREADGROUP with GROUP option"
        )
    group.consumers[consumer] = space.now_ms
    found = stream.entries.between(group.last, LAST, count + 1 if count > 0 else None)
    if found[:1] == [group.last]:
        del found[0]
    found = found[:count] if count > 0 else found
    if not found:
        return None
    for one in found:
        group.hand(one, consumer, space.now_ms, 1)
    group.last = found[-1]
    return [[key, [entry_reply(stream, one) for one in found]]]


def xack(space: Keyspace, args: Args) -> int:
    """XACK key group id..."""
    stream = space.find(args[0], Stream)
    group = None if stream is None else stream.groups.get(args[1])
    if group is None:
        return 0
    return sum(group.pending.drop(one) is not None for one in [parse_id(one) for one in args[2:]])


def _grouped(space: Keyspace, key: bytes, name: bytes) -> tuple[Stream, Group]:
    stream = space.find(key, Stream)
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise CommandError(f"NOGROUP No such key '{shown(key)}' or consumer group '{shown(name)}'")
    return stream, group


class _Claim(NamedTuple):
    """Options of XCLAIM. ``deliveries`` None: one more, unless only the ids are asked for."""

    ids: list[Id]
    since_ms: int
    deliveries: int | None
    just_id: bool


def xclaim(space: Keyspace, args: Args) -> Claimed:
    """XCLAIM key group consumer min-idle id... [IDLE ms] [RETRYCOUNT n] [JUSTID]."""
    stream, group = _grouped(space, args[0], args[1])
    consumer, least_idle = args[2], max(0, whole(args[3], IDLE_PROBLEM.format("XCLAIM")))
    asked = _claim_options(args[4:], space.now_ms)
    reply: Claimed = []
    for entry in asked.ids:
        held = group.pending.get(entry)
        if held is None:
            continue
        if entry not in stream.entries:
            group.pending.drop(entry)
            continue
        if least_idle and space.now_ms - held.since_ms < least_idle:
            continue
        count = asked.deliveries if asked.deliveries is not None else held.count + (not asked.just_id)
        group.hand(entry, consumer, asked.since_ms, count)
        reply.append(id_text(entry) if asked.just_id else entry_reply(stream, entry))
    _see(group, consumer, space.now_ms)
    return reply


def _claim_options(args: Args, now_ms: int) -> _Claim:
    at = 0
    while at < len(args) and args[at][:1].isdigit():
        at += 1
    ids, since, count, just_id = [parse_id(one) for one in args[:at]], now_ms, None, False
    while at < len(args):
        option = args[at].upper()
        if option == b"JUSTID":
            just_id = True
        elif option in {b"IDLE", b"RETRYCOUNT"} and at + 1 < len(args):
            number = whole(args[at + 1], f"ERR Invalid {shown(option)} option argument for XCLAIM")
            if option == b"IDLE":
                since = min(now_ms, now_ms - number)
            else:
                count = number
            at += 1
        elif option in {b"TIME", b"FORCE", b"LASTID"}:
            raise unsupported(f"option {shown(option)} of XCLAIM")
        else:
            raise CommandError(f"ERR Unrecognized XCLAIM option '{shown(args[at])}'")
        at += 1
    if not ids:
        raise CommandError("ERR wrong number of arguments for 'xclaim' command")
    return _Claim(ids, since, count, just_id)


def xautoclaim(space: Keyspace, args: Args) -> list[bytes | Claimed | list[bytes]]:
    """XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID]: cursor, claimed, gone from the stream."""
    least_idle = max(0, whole(args[3], IDLE_PROBLEM.format("XAUTOCLAIM")))
    start, count, just_id = start_of(args[4]), 100, False
    rest = [one.upper() for one in args[5:]]
    while rest:
        option = rest.pop(0)
        if option == b"COUNT" and rest:
            count = whole(rest.pop(0), "ERR COUNT must be > 0")
            if count < 1:
                raise CommandError("ERR COUNT must be > 0")
        elif option == b"JUSTID":
            just_id = True
        else:
            raise CommandError(SYNTAX)
    stream, group = _grouped(space, args[0], args[1])
    listed = group.pending.between(start, LAST)
    claimed: Claimed = []
    gone: list[bytes] = []
    seen = 0
    while seen < len(listed) and seen < count * 10 and len(claimed) + len(gone) < count:
        entry = listed[seen]
        seen += 1
        held = group.pending[entry]
        if entry not in stream.entries:
            group.pending.drop(entry)
            gone.append(id_text(entry))
        elif not least_idle or space.now_ms - held.since_ms >= least_idle:
            group.hand(entry, args[2], space.now_ms, held.count + (not just_id))
            claimed.append(id_text(entry) if just_id else entry_reply(stream, entry))
    _see(group, args[2], space.now_ms)
    return [id_text(listed[seen]) if seen < len(listed) else b"0-0", claimed, gone]


def _see(group: Group, consumer: bytes, now_ms: int) -> None:
    """Note that a consumer was there; one that got nothing is not made."""
    if consumer in group.consumers:
        group.consumers[consumer] = now_ms


def xpending(space: Keyspace, args: Args) -> Summary | Listed:
    """XPENDING key group, or XPENDING key group [IDLE ms] start end count [consumer]."""
    if len(args) == 2:
        return _summary(_grouped(space, args[0], args[1])[1])
    rest, least_idle = list(args[2:]), 0
    if rest[0].upper() == b"IDLE" and len(rest) > 1:
        least_idle = whole(rest[1])
        del rest[:2]
    if not 3 <= len(rest) <= 4:
        raise CommandError(SYNTAX)
    start, end, count = start_of(rest[0]), end_of(rest[1]), max(0, whole(rest[2]))
    _, group = _grouped(space, args[0], args[1])
    reply: Listed = []
    for entry in group.pending.between(start, end):
        if len(reply) >= count:
            break
        held = group.pending[entry]
        idle = max(0, space.now_ms - held.since_ms)
        if (len(rest) < 4 or held.owner == rest[3]) and idle >= least_idle:
            reply.append([id_text(entry), held.owner, idle, held.count])
    return reply


def _summary(group: Group) -> Summary:
    if not len(group.pending):
        return [0, None, None, None]
    ids = group.pending.between((0, 0), LAST)
    consumers = [[name, b"%d" % count] for name, count in group.by_consumer().items()]
    return [len(ids), id_text(ids[0]), id_text(ids[-1]), consumers]
