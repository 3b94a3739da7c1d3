"""Commands on hashes."""

from __future__ import annotations

from .arguments import Args, CommandError, unsupported, whole
from .commands_keys import scan_options
from .values import Hash, Keyspace


def _found(space: Keyspace, key: bytes) -> Hash:
    return space.find(key, Hash) or Hash()


def hset(space: Keyspace, args: Args) -> int:
    """HSET key field value..."""
    if len(args) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'hset' command")
    value = space.open(args[0], Hash)
    before = len(value)
    value.update(zip(args[1::2], args[2::2], strict=True))
    return len(value) - before


def hsetnx(space: Keyspace, args: Args) -> int:
    """HSETNX key field value."""
    value = space.open(args[0], Hash)
    if args[1] in value:
        return 0
    value[args[1]] = args[2]
    return 1


def hget(space: Keyspace, args: Args) -> bytes | None:
    """HGET key field."""
    return _found(space, args[0]).get(args[1])


def hmget(space: Keyspace, args: Args) -> list[bytes | None]:
    """HMGET key field..."""
    value = _found(space, args[0])
    return [value.get(field) for field in args[1:]]


def hdel(space: Keyspace, args: Args) -> int:
    """HDEL key field..."""
    value = space.find(args[0], Hash)
    if value is None:
        return 0
    gone = sum(value.pop(field, None) is not None for field in args[1:])
    space.tidy(args[0], value)
    return gone


def hexists(space: Keyspace, args: Args) -> int:
    """HEXISTS key field."""
    return int(args[1] in _found(space, args[0]))


def hlen(space: Keyspace, args: Args) -> int:
    """HLEN key."""
    return len(_found(space, args[0]))


def hkeys(space: Keyspace, args: Args) -> list[bytes]:
    """HKEYS key."""
    return list(_found(space, args[0]))


def hgetall(space: Keyspace, args: Args) -> list[bytes]:
    """HGETALL key."""
    return [part for pair in _found(space, args[0]).items() for part in pair]


def hincrby(space: Keyspace, args: Args) -> int:
    """HINCRBY key field by."""
    by = whole(args[2])
    known = _found(space, args[0]).get(args[1], b"0")
    total = whole(known, "ERR hash value is not an integer") + by
    if not -(2**63) <= total < 2**63:
        raise CommandError("ERR increment or decrement would overflow")
    space.open(args[0], Hash)[args[1]] = b"%d" % total
    return total


def hrandfield(space: Keyspace, args: Args) -> list[bytes]:
    """HRANDFIELD key count [WITHVALUES]: different fields, chosen by the broker's seed."""
    if len(args) < 2:
        raise unsupported("HRANDFIELD without a count")
    count = whole(args[1])
    if count < 0:
        raise unsupported("HRANDFIELD with a negative count")
    if len(args) > 2 and (len(args) > 3 or args[2].upper() != b"WITHVALUES"):
        raise CommandError("ERR syntax error")
    value = _found(space, args[0])
    fields = list(value)
    if count < len(fields):
        fields = space.random.sample(fields, count)
    if len(args) == 2:
        return fields
    return [part for field in fields for part in (field, value[field])]


def hscan(space: Keyspace, args: Args) -> list[bytes | list[bytes]]:
    """HSCAN key cursor [MATCH pattern] [COUNT n]: all fields in one page."""
    pattern = scan_options(args[1:])
    pairs = [pair for pair in _found(space, args[0]).items() if pattern.fullmatch(pair[0])]
    return [b"0", [part for pair in pairs for part in pair]]
