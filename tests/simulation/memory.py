"""The broker in memory in the shape of a server, for what is written for real ones."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import redis

from streamq._memory import broker as brokers
from streamq._memory.arguments import as_bytes
from streamq._memory.broker import Broker
from streamq._memory.commands_keys import glob
from streamq._store.link import ReplyError
from tests.servers import Server

_numbers = itertools.count(1)


class MemoryServer(Server):
    """A broker of its own under a url of its own; ``command`` knows what only tests ask for besides."""

    def __init__(self, broker: Broker | None = None) -> None:
        # Not Server's: nothing is started.
        self.kind = "valkey"
        self.name = f"test-{next(_numbers)}"
        self.url = f"memory://{self.name}"
        brokers.put(self.name, broker)
        self.broker = brokers.named(self.url)
        self._own = self.broker.connect("test")

    def start(self) -> None:
        """It is there."""

    def close(self) -> None:
        """Forget the broker."""
        brokers.put(self.name, None)

    @property
    def running(self) -> bool:
        """It cannot be anything else."""
        return True

    def command(self, *args: str | bytes | float) -> Any:
        """Run one command; errors are raised as redis-py raises them."""
        words = [as_bytes(arg) for arg in args]
        match words[0].upper():
            case b"DUMP":
                found = self.broker.dump().get(words[1])
                return None if found is None else repr(found[:2]).encode()
            case b"KEYS":
                return [key for key in self.broker.dump() if glob(words[1]).fullmatch(key)]
            case b"CONFIG":
                return self._configure(*words[1:])
            case _:
                pass
        reply = self._own.execute(words)
        if isinstance(reply, ReplyError):
            raise redis.ResponseError(reply.text)
        return reply

    def _configure(self, *words: bytes) -> bytes:
        """CONFIG SET maxmemory, the one setting that tests turn."""
        if [word.lower() for word in words[:2]] != [b"set", b"maxmemory"]:
            pytest.skip("a setting that the broker in memory does not have")
        self.broker.short_of_memory = words[2] != b"0"
        return b"OK"

    def info(self, section: str = "everything") -> dict[str, str]:
        """The lines of INFO."""
        del section
        return dict(re.findall(r"^(\w+):(.*?)\r$", self.command("INFO").decode(), re.MULTILINE))

    def commandstats(self) -> dict[str, int]:
        """Nobody counts them."""
        pytest.skip("the broker in memory counts no commands")
