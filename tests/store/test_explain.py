"""explain: why a job waits."""

from __future__ import annotations

from streamq._core.flow import Flow
from streamq._store import limits
from tests.store.stage import Lined, Stage, retried


async def test_place_and_gates_of_a_parked_job(stage: Stage) -> None:
    await stage.set("r.x", n=2, p=60_000)
    flow = Flow(("g:x", "r.x"))
    await stage.line_up(*[Lined(f"j{n}", flow) for n in range(5)])
    await stage.hand().take()
    before = stage.look()
    found = await limits.explain(stage.store, "j4", ["q", "h.other"])
    assert (found.line, found.state, found.parked_at) == ("g:x>r.x", "p", "r.x")
    assert (found.ahead, found.in_line, found.held_ms) == (2, 3, -1)
    gates = {one.gate: one for one in found.gates}
    assert list(gates) == ["q", "h.other", "g:x", "r.x"]
    assert (gates["g:x"].why, gates["g:x"].used, gates["g:x"].waiting) == ("open", 2, 3)
    assert (gates["r.x"].why, gates["r.x"].spent, gates["r.x"].config) == ("rate", 2, {"n": 2, "p": 60_000})
    assert 59_000 < gates["r.x"].wait_ms <= 60_000
    assert (gates["q"].why, gates["q"].config) == ("open", {})
    assert stage.look() == before, "it reads only"


async def test_a_held_line_says_for_how_long(stage: Stage) -> None:
    flow = Flow(("g:o",), "g:o", ordered=True)
    await stage.line_up(Lined("a", flow), Lined("b", flow))
    hand = stage.hand()
    [a] = await hand.take(1)
    await hand.settle(retried(a, "+60000"))
    found = await limits.explain(stage.store, "b")
    assert (found.state, found.ahead) == ("h", 1)
    assert 59_000 < found.held_ms <= 60_001


async def test_slots_and_pause_are_told(stage: Stage) -> None:
    await stage.set("k.a=1", c=0)
    await stage.set("g:x", x=1)
    await stage.line_up(Lined("a", Flow(("g:x", "k.a=1"))))
    found = await limits.explain(stage.store, "a")
    assert [(one.gate, one.why) for one in found.gates] == [("g:x", "paused"), ("k.a=1", "slots")]
    assert (found.state, found.parked_at) == ("r", "")


async def test_a_plain_an_active_and_an_unknown_job(stage: Stage) -> None:
    await stage.line_up(Lined("plain", None), Lined("active", Flow(("r.x",))))
    await stage.hand().take(1, order=b"3")
    plain, unknown = await limits.explain(stage.store, "plain"), await limits.explain(stage.store, "nobody")
    assert (plain.line, plain.state, plain.gates) == ("", "", [])
    assert plain.row.startswith(b"2")
    assert unknown.row == b""
    await stage.hand().take()
    active = await limits.explain(stage.store, "active")
    assert (active.row[:1], active.state, [one.used for one in active.gates]) == (b"t", "", [1])
