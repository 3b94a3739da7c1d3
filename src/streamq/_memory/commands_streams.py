"""Commands on streams and their groups as a whole; those on pending entries: commands_pending.py."""

from __future__ import annotations

from .arguments import OK, SYNTAX, Args, CommandError, Status, shown, unsupported, whole
from .streams import LAST, Group, Id, Stream, end_of, id_text, parse_id, start_of
from .values import Keyspace

Entry = list[bytes | list[bytes]]
"""An entry as it is replied: id, and fields and values by turns."""

NO_KEY = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option "
    "to create an empty stream automatically."
)


def entry_reply(stream: Stream, entry: Id) -> Entry:
    """Return an entry as it is replied."""
    return [id_text(entry), list(stream.entries[entry])]


def xadd(space: Keyspace, args: Args) -> bytes:
    """XADD key [MAXLEN ~ count] id or * field value..."""
    given, most = None, None
    if args[1].upper() == b"MAXLEN":
        if len(args) < 7 or args[2] != b"~":  # 7: key, the option in three, id, field and value
            raise unsupported("XADD but with MAXLEN ~ count")
        most, args = whole(args[3]), [args[0], *args[4:]]
    if args[1] != b"*":
        if not args[1][:1].isdigit():
            raise unsupported("XADD with options")
        given = parse_id(args[1])
    if len(args) % 2:
        raise CommandError("ERR wrong number of arguments for 'xadd' command")
    stream = space.find(args[0], Stream)
    if given is not None and given <= (stream.last if stream else (0, 0)):
        raise CommandError("ERR The ID specified in XADD is equal or smaller than the target stream top item")
    made = id_text(space.open(args[0], Stream).add(tuple(args[2:]), space.now_ms, given))
    if most is not None:
        xtrim(space, [args[0], b"MAXLEN", b"%d" % most])
    return made


def xtrim(space: Keyspace, args: Args) -> int:
    """XTRIM key MAXLEN count."""
    if args[1].upper() != b"MAXLEN":
        raise unsupported("XTRIM but by MAXLEN and count")
    stream, most = space.find(args[0], Stream), whole(args[2])
    if stream is None:
        return 0
    gone = stream.entries.between((0, 0), LAST, max(0, len(stream.entries) - most))
    for one in gone:
        stream.entries.drop(one)
    return len(gone)


def xlen(space: Keyspace, args: Args) -> int:
    """XLEN key."""
    stream = space.find(args[0], Stream)
    return 0 if stream is None else len(stream.entries)


def xdel(space: Keyspace, args: Args) -> int:
    """XDEL key id..."""
    stream = space.find(args[0], Stream)
    if stream is None:
        return 0
    return sum(stream.entries.drop(one) is not None for one in [parse_id(one) for one in args[1:]])


def xrange(space: Keyspace, args: Args) -> list[Entry] | None:
    """XRANGE key start end [COUNT n]."""
    return _range(space, args, args[1], args[2], backwards=False)


def xrevrange(space: Keyspace, args: Args) -> list[Entry] | None:
    """XREVRANGE key end start [COUNT n]."""
    return _range(space, args, args[2], args[1], backwards=True)


def _range(space: Keyspace, args: Args, start: bytes, end: bytes, *, backwards: bool) -> list[Entry] | None:
    first, last, count = start_of(start), end_of(end), None
    if len(args) > 3:
        if len(args) != 5 or args[3].upper() != b"COUNT":
            raise CommandError(SYNTAX)
        count = max(0, whole(args[4]))
    stream = space.find(args[0], Stream)
    if stream is None:
        return []
    if count == 0:
        return None
    return [entry_reply(stream, one) for one in stream.entries.between(first, last, count, backwards=backwards)]


# -- groups -------------------------------------------------------------------------------------------------------


def xgroup(space: Keyspace, args: Args) -> int | Status:
    """XGROUP CREATE key group id [MKSTREAM], DESTROY key group, CREATECONSUMER and DELCONSUMER key group consumer."""
    verb = args[0].upper()
    if verb == b"CREATE":
        return _create(space, args[1:])
    if verb == b"DESTROY" and len(args) == 3:
        stream = _stream(space, args[1])
        return int(stream.groups.pop(args[2], None) is not None)
    if verb in {b"CREATECONSUMER", b"DELCONSUMER"} and len(args) == 4:
        group, consumer = _group(space, args[1], args[2]), args[3]
        if verb == b"DELCONSUMER":
            group.consumers.pop(consumer, None)
            return group.forget(consumer)
        is_new = consumer not in group.consumers
        group.consumers.setdefault(consumer, space.now_ms)
        return int(is_new)
    raise unsupported(f"XGROUP {shown(verb)} of {len(args) - 1} arguments")


def _stream(space: Keyspace, key: bytes) -> Stream:
    stream = space.find(key, Stream)
    if stream is None:
        raise CommandError(NO_KEY)
    return stream


def _create(space: Keyspace, args: Args) -> Status:
    if len(args) < 3 or [one.upper() for one in args[3:]] not in ([], [b"MKSTREAM"]):
        raise unsupported("XGROUP CREATE with other options than MKSTREAM")
    stream = space.open(args[0], Stream) if len(args) > 3 else _stream(space, args[0])
    if args[1] in stream.groups:
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    stream.groups[args[1]] = Group(stream.last if args[2] == b"$" else parse_id(args[2]))
    return OK


def _group(space: Keyspace, key: bytes, name: bytes) -> Group:
    group = _stream(space, key).groups.get(name)
    if group is None:
        raise CommandError(f"NOGROUP No such consumer group '{shown(name)}' for key name '{shown(key)}'")
    return group


def xinfo(space: Keyspace, args: Args) -> list[list[bytes | int | None]]:
    """XINFO GROUPS key, XINFO CONSUMERS key group."""
    what = args[0].upper(), len(args)
    if what not in {(b"GROUPS", 2), (b"CONSUMERS", 3)}:
        raise unsupported(f"XINFO {shown(args[0])} of {len(args)} arguments")
    stream = space.find(args[1], Stream)
    if stream is None:
        raise CommandError("ERR no such key")
    if what == (b"GROUPS", 2):
        return [_group_info(name, group) for name, group in sorted(stream.groups.items())]
    group = stream.groups.get(args[2])
    if group is None:
        raise CommandError(f"NOGROUP No such consumer group '{shown(args[2])}' for key name '{shown(args[1])}'")
    held = group.by_consumer()
    return [
        [b"name", name, b"pending", held.get(name, 0), b"idle", max(0, space.now_ms - seen)]
        for name, seen in sorted(group.consumers.items())
    ]


def _group_info(name: bytes, group: Group) -> list[bytes | int | None]:
    """What there is to say of a group; how many entries it read and lacks is None: nobody asks for it."""
    return [
        b"name", name, b"consumers", len(group.consumers), b"pending", len(group.pending), b"last-delivered-id",
        id_text(group.last), b"entries-read", None, b"lag", None,
    ]  # fmt: skip
