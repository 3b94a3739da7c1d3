"""Commands on sorted sets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from .arguments import SYNTAX, Args, CommandError, lex_bound, number_text, real, score_bound, unsupported, whole
from .commands_keys import ranks, scan_options
from .values import Keyspace, SortedSet


def _found(space: Keyspace, key: bytes) -> SortedSet:
    return space.find(key, SortedSet) or SortedSet()


def zadd(space: Keyspace, args: Args) -> int:
    """ZADD key [LT] [CH] score member..."""
    at, options = 1, set[bytes]()
    while at < len(args) and args[at].upper() in {b"LT", b"CH", b"NX", b"XX", b"GT", b"INCR"}:
        options.add(args[at].upper())
        at += 1
    if options - {b"LT", b"CH"}:
        raise unsupported(f"option {options} of ZADD")
    if at >= len(args) or (len(args) - at) % 2:
        raise CommandError(SYNTAX)
    pairs = [(real(score), member) for score, member in zip(args[at::2], args[at + 1 :: 2], strict=True)]
    value = space.open(args[0], SortedSet)
    added = changed = 0
    for score, member in pairs:
        known = value.scores.get(member)
        if known is None:
            added += 1
        elif score == known or (b"LT" in options and score > known):
            continue
        else:
            changed += 1
        value.put(member, score)
    return added + changed if b"CH" in options else added


def zrem(space: Keyspace, args: Args) -> int:
    """ZREM key member..."""
    value = space.find(args[0], SortedSet)
    if value is None:
        return 0
    gone = sum(value.remove(member) for member in args[1:])
    space.tidy(args[0], value)
    return gone


def zcard(space: Keyspace, args: Args) -> int:
    """ZCARD key."""
    return len(_found(space, args[0]))


def zscore(space: Keyspace, args: Args) -> bytes | None:
    """ZSCORE key member."""
    score = _found(space, args[0]).scores.get(args[1])
    return None if score is None else number_text(score)


def zmscore(space: Keyspace, args: Args) -> list[bytes | None]:
    """ZMSCORE key member..."""
    scores = _found(space, args[0]).scores
    return [None if member not in scores else number_text(scores[member]) for member in args[1:]]


def zrank(space: Keyspace, args: Args) -> int | None:
    """ZRANK key member."""
    value = _found(space, args[0])
    score = value.scores.get(args[1])
    return None if score is None else value.rank(args[1], score)


def zcount(space: Keyspace, args: Args) -> int:
    """ZCOUNT key min max."""
    _by_score(SortedSet(), args[1], args[2])  # a wrong bound is told before a wrong type
    start, stop = _by_score(_found(space, args[0]), args[1], args[2])
    return max(0, stop - start)


def zlexcount(space: Keyspace, args: Args) -> int:
    """ZLEXCOUNT key min max."""
    _by_lex(SortedSet(), args[1], args[2])
    start, stop = _by_lex(_found(space, args[0]), args[1], args[2])
    return max(0, stop - start)


def zscan(space: Keyspace, args: Args) -> list[bytes | list[bytes]]:
    """ZSCAN key cursor [MATCH pattern] [COUNT n]: all members in one page."""
    pattern = scan_options(args[1:])
    pairs = [(member, score) for score, member in _found(space, args[0]).order if pattern.fullmatch(member)]
    return [b"0", [part for member, score in pairs for part in (member, number_text(score))]]


def zrange(space: Keyspace, args: Args) -> list[bytes]:
    """ZRANGE key start stop [BYSCORE or BYLEX] [LIMIT offset count] [WITHSCORES]."""
    by, limit, with_scores, at = b"", (0, -1), False, 3
    while at < len(args):
        option = args[at].upper()
        if option in {b"BYSCORE", b"BYLEX"}:
            by = option
        elif option == b"WITHSCORES":
            with_scores = True
        elif option == b"LIMIT" and at + 2 < len(args):
            limit = whole(args[at + 1]), whole(args[at + 2])
            at += 2
        else:
            raise unsupported(f"option {option!r} of ZRANGE")
        at += 1
    if limit != (0, -1) and not by:
        raise CommandError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if with_scores and by == b"BYLEX":
        raise CommandError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
    bounds = {b"": _by_rank, b"BYSCORE": _by_score, b"BYLEX": _by_lex}[by]
    bounds(SortedSet(), args[1], args[2])  # a wrong bound is told before a wrong type
    value = _found(space, args[0])
    start, stop = bounds(value, args[1], args[2])
    offset, count = limit
    found = value.order[start + offset : max(start, stop)] if offset >= 0 else []
    if count >= 0:
        found = found[:count]
    if with_scores:
        return [part for score, member in found for part in (member, number_text(score))]
    return [member for _, member in found]


def _by_rank(value: SortedSet, start: bytes, stop: bytes) -> tuple[int, int]:
    return ranks(start, stop, len(value))


def _by_score(value: SortedSet, least: bytes, most: bytes) -> tuple[int, int]:
    (low, low_open), (high, high_open) = score_bound(least), score_bound(most)
    scores = [score for score, _ in value.order]
    start = bisect_right(scores, low) if low_open else bisect_left(scores, low)
    stop = bisect_left(scores, high) if high_open else bisect_right(scores, high)
    return start, stop


def _by_lex(value: SortedSet, least: bytes, most: bytes) -> tuple[int, int]:
    members = [member for _, member in value.order]
    low, high = lex_bound(least), lex_bound(most)

    def place(bound: tuple[int, bytes, bool], *, is_end: bool) -> int:
        side, member, is_open = bound
        if side:
            return 0 if side < 0 else len(members)
        return bisect_right(members, member) if is_open != is_end else bisect_left(members, member)

    return place(low, is_end=False), place(high, is_end=True)
