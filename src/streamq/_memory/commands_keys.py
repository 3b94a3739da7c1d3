"""Commands on keys of any type, strings, lists and sets."""

from __future__ import annotations

import re

from .arguments import OK, SYNTAX, Args, CommandError, Status, real, shown, unsupported, whole
from .values import NAMES, Keyspace, List, Set, Text

Popped = bytes | list[bytes] | None


def delete(space: Keyspace, args: Args) -> int:
    """DEL and UNLINK key..."""
    return sum(space.get(key) is not None and space.delete(key) for key in args)


def flushall(space: Keyspace, args: Args) -> Status:
    """FLUSHALL."""
    del args
    space.clear()
    return OK


def exists(space: Keyspace, args: Args) -> int:
    """EXISTS key..."""
    return sum(space.get(key) is not None for key in args)


def kind(space: Keyspace, args: Args) -> Status:
    """TYPE key."""
    value = space.get(args[0])
    return Status(b"none" if value is None else NAMES[type(value)].encode())


def pttl(space: Keyspace, args: Args) -> int:
    """PTTL key."""
    if space.get(args[0]) is None:
        return -2
    until = space.until(args[0])
    return -1 if until is None else max(0, until - space.now_ms)


def persist(space: Keyspace, args: Args) -> int:
    """PERSIST key."""
    value = space.get(args[0])
    if value is None or space.until(args[0]) is None:
        return 0
    space.put(args[0], value)
    return 1


def pexpire(space: Keyspace, args: Args) -> int:
    """PEXPIRE key ms."""
    ms, value = whole(args[1]), space.get(args[0])
    if value is None:
        return 0
    space.put(args[0], value, space.now_ms + ms)
    if ms <= 0:
        space.delete(args[0])
    return 1


def scan(space: Keyspace, args: Args) -> list[bytes | list[bytes]]:
    """SCAN cursor [MATCH pattern] [COUNT n]: all keys in one page."""
    pattern = scan_options(args)
    return [b"0", [key for key in space.names() if pattern.fullmatch(key)]]


def scan_options(args: Args) -> re.Pattern[bytes]:
    """Return what names must be like, of the arguments from the cursor on."""
    whole(args[0], "ERR invalid cursor")
    pattern = re.compile(b".*", re.DOTALL)
    for at in range(1, len(args), 2):
        option = args[at].upper()
        if option not in {b"MATCH", b"COUNT"} or at + 1 >= len(args):
            raise unsupported(f"option {shown(option)} of a SCAN")
        if option == b"MATCH":
            pattern = glob(args[at + 1])
        elif whole(args[at + 1]) < 1:
            raise CommandError(SYNTAX)
    return pattern


def glob(pattern: bytes) -> re.Pattern[bytes]:
    """Return a pattern of the server as an expression: ``*``, ``?``, ``[a-z]``, ``[^a]``, and backslashes."""
    parts: list[bytes] = []
    for found in re.finditer(rb"\\(.)|\[((?:\\.|[^\]])*)\]|(.)", pattern, re.DOTALL):
        escaped, group, one = found[1], found[2], found[3]
        if group is not None:
            negated = group[:1] == b"^"
            inner = re.sub(rb"\[", rb"\\[", group[1:] if negated else group)
            parts.append(b"[" + (b"^" if negated else b"") + inner + b"]")
        elif one in {b"*", b"?"}:
            parts.append(b".*" if one == b"*" else b".")
        else:
            parts.append(re.escape(escaped if escaped is not None else one))
    return re.compile(b"".join(parts), re.DOTALL)


# -- strings ------------------------------------------------------------------------------------------------------


def get(space: Keyspace, args: Args) -> bytes | None:
    """GET key."""
    value = space.find(args[0], Text)
    return None if value is None else value.data


def put(space: Keyspace, args: Args) -> Status:
    """SET key value [PX ms]."""
    until = None
    if len(args) > 2:
        if len(args) != 4 or args[2].upper() != b"PX":
            raise unsupported("SET with other options than PX")
        ms = whole(args[3])
        if ms <= 0:
            raise CommandError("ERR invalid expire time in 'set' command")
        until = space.now_ms + ms
    space.put(args[0], Text(args[1]), until)
    return OK


# -- lists --------------------------------------------------------------------------------------------------------


def lpush(space: Keyspace, args: Args) -> int:
    """LPUSH key value..."""
    value = space.open(args[0], List)
    value.extendleft(args[1:])
    return len(value)


def llen(space: Keyspace, args: Args) -> int:
    """LLEN key."""
    return len(space.find(args[0], List) or ())


def lindex(space: Keyspace, args: Args) -> bytes | None:
    """LINDEX key index."""
    value = space.find(args[0], List)
    at = 0 if value is None else whole(args[1])
    return value[at] if value is not None and -len(value) <= at < len(value) else None


def lpos(space: Keyspace, args: Args) -> int | None:
    """LPOS key value."""
    value = list(space.find(args[0], List) or ())
    return value.index(args[1]) if args[1] in value else None


def lrem(space: Keyspace, args: Args) -> int:
    """LREM key count value: from the end when ``count`` is negative, all when it is 0."""
    count, value = whole(args[1]), space.find(args[0], List)
    if value is None:
        return 0
    most = min(value.count(args[2]), abs(count) or len(value))
    if count < 0:
        value.reverse()
    for _ in range(most):
        value.remove(args[2])
    if count < 0:
        value.reverse()
    space.tidy(args[0], value)
    return most


def lrange(space: Keyspace, args: Args) -> list[bytes]:
    """LRANGE key start stop."""
    ranks(args[1], args[2], 0)
    value = list(space.find(args[0], List) or ())
    start, stop = ranks(args[1], args[2], len(value))
    return value[start:stop]


def ranks(start: bytes, stop: bytes, length: int) -> tuple[int, int]:
    """Return the slice that two ranks mean, of which negative ones count from the end."""
    first, last = whole(start), whole(stop)
    first = max(0, first + length if first < 0 else first)
    last = last + length if last < 0 else last
    return first, max(first, last + 1)


def lpop(space: Keyspace, args: Args) -> Popped:
    """LPOP key [count]."""
    return _pop(space, args, left=True)


def rpop(space: Keyspace, args: Args) -> Popped:
    """RPOP key [count]."""
    return _pop(space, args, left=False)


def _pop(space: Keyspace, args: Args, *, left: bool) -> Popped:
    count = whole(args[1], "ERR value is out of range, must be positive") if len(args) > 1 else 1
    if count < 0:
        raise CommandError("ERR value is out of range, must be positive")
    value = space.find(args[0], List)
    if value is None:
        return None
    found = [value.popleft() if left else value.pop() for _ in range(min(count, len(value)))]
    space.tidy(args[0], value)
    return found if len(args) > 1 else found[0]


def blocking_pop(space: Keyspace, args: Args) -> tuple[bytes, float | None]:
    """BLPOP key timeout: return the key and the seconds, None for ever. One key only."""
    if len(args) != 2:
        raise unsupported("BLPOP with several keys")
    seconds = real(args[1], "ERR timeout is not a float or out of range")
    if seconds < 0:
        raise CommandError("ERR timeout is negative")
    space.find(args[0], List)
    return args[0], seconds or None


# -- sets ---------------------------------------------------------------------------------------------------------


def sadd(space: Keyspace, args: Args) -> int:
    """SADD key member..."""
    value = space.open(args[0], Set)
    before = len(value)
    value.update(dict.fromkeys(args[1:]))
    return len(value) - before


def smembers(space: Keyspace, args: Args) -> list[bytes]:
    """SMEMBERS key."""
    return list(space.find(args[0], Set) or ())
