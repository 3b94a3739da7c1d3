"""What lies between the nodes and the server, and what goes wrong there: loss, delay, cuts, resets, late arrivals.

A connection is TCP: what passes at all passes in order; what is lost takes the connection along. Between connections
there is no order. A request that its client gave up may still arrive, and is executed then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from streamq._memory.broker import Broker
from streamq._memory.connection import Blocked, Connection, ConnectionGone, nothing
from streamq._memory.transport import Transport
from streamq._store.link import Command, Reply
from tests.simulation.loop import Node, VirtualLoop, here
from tests.simulation.wires import Answer, Cut, Fate, Weather, Wire

REFUSED_AFTER: Final = 5.0
"""Seconds after which a connection attempt without any answer fails."""

FORGOTTEN_AFTER: Final = 20.0
"""Seconds after which either end of a connection that broke in silence hears of it."""

Seen = Callable[[Node, Sequence[bytes], Reply], None]
"""Called after each command of a client that the server ran, with its words and its reply."""


class Network(Transport):
    """All wires. ``on_fault`` hears what befalls exchanges of a node, ``on_defect`` what a broker never raises."""

    def __init__(self, loop: VirtualLoop, seed: int, seen: Seen) -> None:
        self.loop = loop
        self.weather = Weather(seed)
        self.down = False
        self.cuts: dict[Node, Cut] = {}
        self.wires: dict[int, Wire] = {}
        self.on_fault: Callable[[str, Node], None] = nothing
        self.on_defect: Callable[[BaseException], None] = nothing
        self._seen = seen

    # -- what links call -------------------------------------------------------------------------------

    async def open(self, broker: Broker, name: str) -> Connection:
        node = here()
        await asyncio.sleep(self.weather.delay() * 2)
        if node in self.cuts:
            await asyncio.sleep(REFUSED_AFTER)
            raise ConnectionGone("no answer")
        if self.down:
            raise ConnectionGone("connection refused")
        connection = broker.connect(f"{name} of {node}")
        self.wires[connection.number] = Wire(node, connection)
        return connection

    async def exchange(
        self,
        connection: Connection,
        commands: Sequence[Command],
        timeout: float,  # noqa: ARG002, ASYNC109 - as in the one whose place it takes
        meanwhile: Callable[[], None] | None,
    ) -> list[Reply]:
        wire = await self._wire(connection)
        answer: asyncio.Future[list[Reply]] = self.loop.create_future()
        wire.answer = answer
        self._send(wire, commands, answer)
        if meanwhile is not None:
            meanwhile()
        return await answer

    async def post(self, connection: Connection, command: Command) -> None:
        self._send(await self._wire(connection), [command], None)
        await asyncio.sleep(0)

    def deliver(self, connection: Connection, message: Reply) -> None:
        wire = self.wires.get(connection.number)
        if wire is not None:
            self._return(wire, lambda: connection.on_push(message))

    def hang_up(self, connection: Connection) -> None:
        wire = self.wires.get(connection.number)
        if wire is None:
            return
        wire.answer = None
        if wire.broken:
            self.loop.outside_at(self.loop.now + FORGOTTEN_AFTER, self._close, wire)
        else:
            self._go(wire, lambda: self._close(wire))

    async def _wire(self, connection: Connection) -> Wire:
        wire = self.wires.get(connection.number)
        if wire is None or wire.broken == "loud":
            await asyncio.sleep(self.weather.delay())
            raise ConnectionGone("connection reset")
        return wire

    # -- there -----------------------------------------------------------------------------------------

    def _send(self, wire: Wire, commands: Sequence[Command], answer: Answer) -> None:
        if wire.broken:
            return
        fate = self.weather.fate()
        if fate:
            self.on_fault(fate, wire.node)
        if fate == "request lost":
            self.snap(wire)
            return
        left = list(commands)
        late = self.weather.lateness(fate, "request late")
        self._go(wire, lambda: self._arrive(wire, left, [], answer, fate), late)

    def _go(self, wire: Wire, act: Callable[[], None], late: float = 0.0) -> None:
        def arrive() -> None:
            cut = self.cuts.get(wire.node)
            if wire.out.held or (cut is not None and cut.out):
                wire.out.held.append(act)
            else:
                act()

        self.loop.outside_at(wire.out.arrival(self.loop.now + self.weather.delay() + late), arrive)

    def _arrive(self, wire: Wire, commands: list[Command], replies: list[Reply], answer: Answer, fate: Fate) -> None:
        """Let the server run what has arrived, one command after the other; others may come in between."""
        while commands:
            command = commands.pop(0)
            try:
                reply = wire.connection.execute(command)
            except ConnectionGone as gone:
                self._answer(wire, answer, gone)
                return
            except Exception as defect:  # noqa: BLE001 - of a script or the broker: the world is to hear of it
                self.on_defect(defect)
                return
            if isinstance(reply, Blocked):
                self._wait(wire, reply, answer, fate)
                return
            self._seen(wire.node, words_of(command), reply)
            replies.append(reply)
            if commands and self.weather.random.random() < 0.2:
                at = wire.out.arrival(self.loop.now + self.weather.delay())
                self.loop.outside_at(at, self._arrive, wire, commands, replies, answer, fate)
                return
        self._reply(wire, answer, replies, fate)

    def _wait(self, wire: Wire, blocked: Blocked, answer: Answer, fate: Fate) -> None:
        timer = None
        if blocked.seconds is not None:
            timer = self.loop.outside_at(self.loop.now + blocked.seconds, blocked.time_out)

        def done(reply: Any) -> None:
            if timer is not None:
                timer.cancel()
            if isinstance(reply, ConnectionGone):
                self._answer(wire, answer, reply)
            else:
                self._reply(wire, answer, [reply], fate)

        blocked.on_done = done

    def _close(self, wire: Wire) -> None:
        """Close at the server, which tells nobody."""
        self.wires.pop(wire.connection.number, None)
        wire.connection.close()

    # -- and back --------------------------------------------------------------------------------------

    def _reply(self, wire: Wire, answer: Answer, replies: list[Reply], fate: Fate) -> None:
        if fate == "reply lost":
            self.snap(wire)
        else:
            self._answer(wire, answer, replies, self.weather.lateness(fate, "reply late"))

    def _answer(self, wire: Wire, answer: Answer, outcome: list[Reply] | ConnectionGone, late: float = 0.0) -> None:
        def settle() -> None:
            if answer is None or answer.done() or wire.node.state == "dead":
                return
            if isinstance(outcome, ConnectionGone):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        if answer is not None:
            self._return(wire, settle, late)

    def _return(self, wire: Wire, act: Callable[[], None], late: float = 0.0) -> None:
        def arrive() -> None:
            cut = self.cuts.get(wire.node)
            if wire.back.held or (cut is not None and cut.back):
                wire.back.held.append(act)
            else:
                act()

        if not wire.broken:
            self.loop.outside_at(wire.back.arrival(self.loop.now + self.weather.delay() + late), arrive)

    # -- faults ----------------------------------------------------------------------------------------

    def snap(self, wire: Wire, *, silently: bool | None = None) -> None:
        """Break a connection: both ends hear of it at once, or in silence, after a long time."""
        if wire.broken:
            return
        chance = self.weather.random
        if silently is None:
            silently = chance.random() < 0.5
        heard = FORGOTTEN_AFTER if silently else 0.0
        self._answer(wire, wire.answer, ConnectionGone("connection reset"), heard)
        self._return(wire, wire.connection.on_close, heard)
        wire.broken = "silent" if silently else "loud"
        closed = chance.uniform(0, FORGOTTEN_AFTER) if silently else self.weather.delay()
        self.loop.outside_at(self.loop.now + closed, self._close, wire)

    def wires_of(self, node: Node) -> list[Wire]:
        """Return the connections of a node."""
        return [wire for wire in self.wires.values() if wire.node is node]

    def heal(self, node: Node) -> None:
        """Let a node that was cut off through again: what was held back arrives, unless its connection is gone."""
        self.cuts.pop(node, None)
        for wire in self.wires_of(node):
            held = [*wire.out.released(), *wire.back.released()]
            if self.weather.random.random() < 0.4:
                self.snap(wire, silently=False)
            else:
                for act in held:
                    act()

    def lose_node(self, node: Node) -> None:
        """A node died: the server hears of it at once, as of a process, or late, as of a machine."""
        at_once = self.weather.random.random() < 0.7
        for wire in self.wires_of(node):
            late = self.weather.delay() if at_once else self.weather.random.uniform(1, FORGOTTEN_AFTER)
            self.loop.outside_at(max(wire.out.last, self.loop.now) + late, self._close, wire)

    def crash(self, broker: Broker, lost: int, down: float) -> None:
        """Let the server die, lose the last of what it wrote, and be back after ``down`` seconds."""
        for wire in list(self.wires.values()):
            self.snap(wire, silently=False)
            wire.connection.close()
        self.wires.clear()
        broker.crash(lost)
        self.down = True

        def up() -> None:
            self.down = False

        self.loop.outside_at(self.loop.now + down, up)


def words_of(command: Command) -> list[bytes]:
    """Return a command as the server reads it."""
    return [word if isinstance(word, bytes) else str(word).encode() for word in command]
