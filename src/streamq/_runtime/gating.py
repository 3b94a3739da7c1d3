"""Which gates a job still needs that it was handed out without, and what becomes of one that met a closed limit.

A job brings the gates its producer knew of. A limit set live, a block, or a producer without the handler's code leave
some out: such a job is diverted into its line before it begins, at the price of one more step of the server.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import msgspec

from .._core import envelope as _wire
from .._core import options as _options
from .._core.flow import Flow
from .._core.rules import Rules
from .._core.signature import enc_hook
from .._store import lines
from .._store.lines import LineRecord
from .._store.verbs import Item
from ..errors import InvalidPayload, StreamqError
from .attempt import Attempt

log = logging.getLogger("streamq.worker")


class Gating:
    """What one queue's limits demand of the jobs taken from it."""

    def __init__(self) -> None:
        self._rules = Rules({})

    def learn(self, found: Mapping[bytes, bytes]) -> None:
        """Take note of the rules in force."""
        self._rules = Rules(found)
        for gate in self._rules.unreadable:
            log.error("rule of gate %s cannot be read: it holds nothing here", gate, extra={"event": "rule_unreadable"})

    def concerns(self, attempt: Attempt) -> bool:
        """Whether `missing` has to be asked at all."""
        return bool(self._rules) or (attempt.spec is not None and attempt.spec.flow is not None)

    def missing(self, attempt: Attempt) -> Item | None:
        """Return how to divert a job that needs gates it does not have; None when it may begin."""
        envelope = attempt.envelope
        held = lines.held(attempt.token)
        flow = _flow(attempt, held)
        wanted = self._rules.gates(envelope.name, envelope.tenant, lambda: _plain(attempt)) if self._rules else []
        known = flow.gates if flow is not None else ()
        extra = tuple(gate for gate in wanted if gate not in known)
        if held is not None and not extra:
            return None
        if held is None and not extra and (flow is None or not (flow.gates or flow.line)):
            return None
        return _diverted(attempt, held, flow, extra)


def sent_to(attempt: Attempt, gate: str) -> Item:
    """Return how to send a job that has not really begun into the line of a gate; that charges it nothing."""
    held = lines.held(attempt.token)
    flow = _flow(attempt, held)
    return _diverted(attempt, held, flow, () if flow is not None and gate in flow.gates else (gate,))


def limited_gate(attempt: Attempt) -> str | None:
    """Return which gate a "too many requests" shuts for a job: its provider's, else its handler's, else its group's."""
    held = lines.held(attempt.token)
    for prefix in ("r.", "h.", "g:"):
        for gate in reversed(held.gates if held is not None else ()):
            if gate.startswith(prefix):
                return gate
    return None


def is_buried(attempt: Attempt) -> bool:
    """Whether a job that met a closed limit is to be buried, not dropped."""
    held = lines.held(attempt.token)
    return held is not None and held.on_limit == "b"


def _flow(attempt: Attempt, held: LineRecord | None) -> Flow | None:
    """Return what a job waited for, or, of one from a lane, would wait for if its producer knew its handler."""
    spec = attempt.spec
    if held is not None:
        return held.flow
    if spec is None or spec.flow is None:
        return None
    try:
        return spec.plan(_options.DEFAULT, bytes(attempt.envelope.args))
    except StreamqError:
        return None  # arguments its handler will refuse, too: that tells it better


def _diverted(attempt: Attempt, held: LineRecord | None, flow: Flow | None, extra: tuple[str, ...]) -> Item:
    lane = _lane(attempt, held)
    if held is not None:
        data = lines.replaced(held, gates=(*held.gates, *extra), line=held.line)
    else:
        data = lines.record(_with(flow, extra), lane, attempt.envelope.expires_ms or 0)
    return Item(b"v", attempt.id, attempt.token, (lane, data))


def _with(flow: Flow | None, extra: tuple[str, ...]) -> Flow:
    if flow is None:
        return Flow(extra)
    return Flow((*flow.gates, *extra), flow.line, flow.cost, flow.ordered, flow.batch, flow.on_limit, flow.on_conflict)


def _plain(attempt: Attempt) -> object:
    """Return the arguments as plain data, those left at their defaults included; None when they cannot be read."""
    spec = attempt.spec
    try:
        given: object = _wire.plain(attempt.envelope.args)
    except _wire.MALFORMED:
        return None
    if spec is None or not isinstance(given, dict):
        return given
    found = cast("dict[str, object]", given)
    left_out = [name for name in spec.signature.names if name not in found]
    if left_out:
        with suppress(InvalidPayload, TypeError):  # then by what was sent: its handler will refuse it
            decoded = spec.signature.decode(attempt.envelope.args)
            found |= {name: msgspec.to_builtins(getattr(decoded, name), enc_hook=enc_hook) for name in left_out}
    return found


def _lane(attempt: Attempt, held: LineRecord | None) -> int:
    if held is not None:
        return held.lane
    place = attempt.token[0]
    return place - 48 if 48 <= place <= 52 else attempt.envelope.lane
