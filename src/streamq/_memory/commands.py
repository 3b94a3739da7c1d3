"""Every command the broker knows. Anything else is answered with an error that says so.

Of keys, also from scripts: DEL UNLINK EXISTS TYPE PTTL PEXPIRE PERSIST SCAN (MATCH COUNT) FLUSHALL; GET SET (PX); LPUSH
LLEN LINDEX LPOS LRANGE LREM LPOP RPOP (count); SADD SMEMBERS; HSET HSETNX HGET HMGET HDEL HEXISTS HLEN HKEYS HGETALL
HINCRBY HSCAN (MATCH COUNT) HRANDFIELD (count, WITHVALUES); ZADD (LT CH) ZREM ZCARD ZSCORE ZMSCORE ZRANK ZCOUNT
ZLEXCOUNT ZSCAN (MATCH COUNT) ZRANGE (BYSCORE BYLEX LIMIT WITHSCORES); XADD (MAXLEN ~, * or an id) XLEN XDEL XTRIM
(MAXLEN) XRANGE XREVRANGE (COUNT) XGROUP (CREATE with MKSTREAM, DESTROY, CREATECONSUMER, DELCONSUMER) XINFO (GROUPS,
CONSUMERS) XREADGROUP (GROUP COUNT STREAMS, one stream, >) XACK XCLAIM (IDLE RETRYCOUNT JUSTID) XAUTOCLAIM (COUNT
JUSTID) XPENDING (both forms, IDLE, consumer). Those that streamq does not call are what foreign hands do to queues in
its tests.

Of the server, also from scripts: TIME, SPUBLISH. Of connections (broker.py): PING, INFO, SELECT 0, CLIENT (ID KILL
SETNAME), BLPOP (one key), SSUBSCRIBE, SUNSUBSCRIBE, SCRIPT (LOAD FLUSH EXISTS), EVAL, EVALSHA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from . import commands_hashes as hashes
from . import commands_keys as keys
from . import commands_pending as pending
from . import commands_streams as streams
from . import commands_zsets as zsets
from .arguments import Args, CommandError, shown
from .values import Keyspace


def _first(args: Args) -> Args:
    return args[:1]


def _second(args: Args) -> Args:
    return args[1:2]


def _every(args: Args) -> Args:
    return args


def _after_streams(args: Args) -> Args:
    return args[6:7]


def _none(args: Args) -> Args:
    return args[:0]


class Verb(NamedTuple):
    """A command. ``least`` and ``most`` arguments (None: any number); ``writes``; ``grows``: refused without memory."""

    run: Callable[[Keyspace, Args], Any]
    least: int
    most: int | None
    keys: Callable[[Args], Args] = _first
    writes: bool = False
    grows: bool = False


def _time(space: Keyspace, args: Args) -> list[bytes]:
    """TIME."""
    del args
    return [b"%d" % (space.now_us // 1_000_000), b"%d" % (space.now_us % 1_000_000)]


def _spublish(space: Keyspace, args: Args) -> int:
    """SPUBLISH channel message."""
    return space.publish(args[0], args[1])


def _reads(run: Callable[[Keyspace, Args], Any], least: int, most: int | None) -> Verb:
    return Verb(run, least, most)


def _shrinks(run: Callable[[Keyspace, Args], Any], least: int, most: int | None) -> Verb:
    return Verb(run, least, most, writes=True)


def _grows(run: Callable[[Keyspace, Args], Any], least: int, most: int | None) -> Verb:
    return Verb(run, least, most, writes=True, grows=True)


VERBS: Final[dict[bytes, Verb]] = {
    b"DEL": Verb(keys.delete, 1, None, _every, writes=True),
    b"UNLINK": Verb(keys.delete, 1, None, _every, writes=True),
    b"FLUSHALL": Verb(keys.flushall, 0, 0, _none, writes=True),
    b"EXISTS": Verb(keys.exists, 1, None, _every),
    b"TYPE": _reads(keys.kind, 1, 1),
    b"PTTL": _reads(keys.pttl, 1, 1),
    b"PERSIST": _shrinks(keys.persist, 1, 1),
    b"PEXPIRE": _shrinks(keys.pexpire, 2, 2),
    b"SCAN": Verb(keys.scan, 1, None, _none),
    b"GET": _reads(keys.get, 1, 1),
    b"SET": _grows(keys.put, 2, None),
    b"LPUSH": _grows(keys.lpush, 2, None),
    b"LLEN": _reads(keys.llen, 1, 1),
    b"LINDEX": _reads(keys.lindex, 2, 2),
    b"LPOS": _reads(keys.lpos, 2, 2),
    b"LRANGE": _reads(keys.lrange, 3, 3),
    b"LREM": _shrinks(keys.lrem, 3, 3),
    b"LPOP": _shrinks(keys.lpop, 1, 2),
    b"RPOP": _shrinks(keys.rpop, 1, 2),
    b"SADD": _grows(keys.sadd, 2, None),
    b"SMEMBERS": _reads(keys.smembers, 1, 1),
    b"HSET": _grows(hashes.hset, 3, None),
    b"HSETNX": _grows(hashes.hsetnx, 3, 3),
    b"HGET": _reads(hashes.hget, 2, 2),
    b"HMGET": _reads(hashes.hmget, 2, None),
    b"HDEL": _shrinks(hashes.hdel, 2, None),
    b"HEXISTS": _reads(hashes.hexists, 2, 2),
    b"HLEN": _reads(hashes.hlen, 1, 1),
    b"HKEYS": _reads(hashes.hkeys, 1, 1),
    b"HGETALL": _reads(hashes.hgetall, 1, 1),
    b"HINCRBY": _grows(hashes.hincrby, 3, 3),
    b"HRANDFIELD": _reads(hashes.hrandfield, 1, 3),
    b"HSCAN": _reads(hashes.hscan, 2, None),
    b"ZADD": _grows(zsets.zadd, 3, None),
    b"ZREM": _shrinks(zsets.zrem, 2, None),
    b"ZCARD": _reads(zsets.zcard, 1, 1),
    b"ZSCORE": _reads(zsets.zscore, 2, 2),
    b"ZMSCORE": _reads(zsets.zmscore, 2, None),
    b"ZRANK": _reads(zsets.zrank, 2, 2),
    b"ZCOUNT": _reads(zsets.zcount, 3, 3),
    b"ZLEXCOUNT": _reads(zsets.zlexcount, 3, 3),
    b"ZSCAN": _reads(zsets.zscan, 2, None),
    b"ZRANGE": _reads(zsets.zrange, 3, None),
    b"XADD": _grows(streams.xadd, 4, None),
    b"XTRIM": _shrinks(streams.xtrim, 3, 3),
    b"XLEN": _reads(streams.xlen, 1, 1),
    b"XDEL": _shrinks(streams.xdel, 2, None),
    b"XRANGE": _reads(streams.xrange, 3, 5),
    b"XREVRANGE": _reads(streams.xrevrange, 3, 5),
    b"XGROUP": Verb(streams.xgroup, 2, None, _second, writes=True, grows=True),
    b"XINFO": Verb(streams.xinfo, 1, None, _second),
    b"XREADGROUP": Verb(pending.xreadgroup, 6, None, _after_streams, writes=True),
    b"XACK": _shrinks(pending.xack, 3, None),
    b"XCLAIM": _shrinks(pending.xclaim, 5, None),
    b"XAUTOCLAIM": _shrinks(pending.xautoclaim, 5, None),
    b"XPENDING": _reads(pending.xpending, 2, None),
    b"TIME": Verb(_time, 0, 0, _none),
    b"SPUBLISH": Verb(_spublish, 2, 2, _none),
}


def verb_of(name: bytes, args: Args) -> Verb:
    """Return a command by its name in capitals, its arguments counted."""
    verb = VERBS.get(name)
    if verb is None:
        raise CommandError(f"ERR streamq memory broker: unknown command '{shown(name)}'")
    if len(args) < verb.least or (verb.most is not None and len(args) > verb.most):
        raise CommandError(f"ERR wrong number of arguments for '{shown(name).lower()}' command")
    return verb
