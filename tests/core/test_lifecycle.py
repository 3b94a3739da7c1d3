"""What becomes of a job: the table of outcomes, the table of transitions, and what always holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamq import Discard, Exponential, Fatal, Fixed, JobState, Linear, RateLimited, Retry, Snooze
from streamq._core import envelope as wire
from streamq._core.backoff import Backoff
from streamq._core.envelope import Envelope
from streamq._core.lifecycle import TRANSITIONS, Bury, End, Failure, Policy, RetryAt, Verdict, decide
from streamq._core.steer import Steer
from streamq._core.units import from_ms

NOW = 1_700_000_000_000
LATER = datetime.fromtimestamp((NOW + 60_000) / 1000, UTC)
POLICY = Policy(max_attempts=3, backoff=Fixed(10), timeout_ms=30_000, no_retry=(KeyError,))
Kind = Literal["retry", "bury", "end"]


def failure(error: BaseException, trace: str = "Traceback ...") -> Failure:
    return Failure(error, trace, NOW, 12, "w1")


def decided(error: BaseException, *, policy: Policy = POLICY, noise: float = 0.5, **envelope: Any) -> Verdict:
    return decide(Envelope(name="mail:send", **envelope), policy, failure(error), now_ms=NOW, noise=noise)


def told(verdict: Verdict) -> tuple[Any, ...]:
    match verdict:
        case RetryAt():
            return "retry", verdict.when, verdict.count, verdict.reason
        case Bury():
            return "bury", verdict.reason
        case End():
            return "end", str(verdict.state), verdict.reason


def broken_backoff(attempt: int) -> float:
    raise ZeroDivisionError(f"attempt {attempt}")


def negative_backoff(attempt: int) -> float:
    return -attempt


# -- the table of outcomes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "envelope", "expected"),
    [
        # An ordinary error: by the backoff, until attempts are used up.
        (ValueError("no"), {}, ("retry", "+10000", "retried", "")),
        (ValueError("no"), {"attempts": 1}, ("retry", "+10000", "retried", "")),
        (ValueError("no"), {"attempts": 2}, ("bury", "attempts exhausted")),
        (ValueError("no"), {"attempts": 7}, ("bury", "attempts exhausted")),
        (TimeoutError("timed out"), {}, ("retry", "+10000", "retried", "")),
        (SystemExit(1), {}, ("retry", "+10000", "retried", "")),
        # What the job brought along goes before the handler's rules.
        (ValueError("no"), {"max_attempts": 1}, ("bury", "attempts exhausted")),
        (ValueError("no"), {"max_attempts": 9, "attempts": 7}, ("retry", "+10000", "retried", "")),
        (ValueError("no"), {"backoff": Linear(2), "attempts": 1}, ("retry", "+4000", "retried", "")),
        # no_retry: that class and what derives from it.
        (KeyError("a"), {}, ("bury", "no_retry: KeyError")),
        (type("Sub", (KeyError,), {})("a"), {}, ("bury", "no_retry: Sub")),
        (KeyError("a"), {"attempts": 2}, ("bury", "no_retry: KeyError")),
        # Steering.
        (Retry(), {}, ("retry", "+10000", "retried", "")),
        (Retry("busy", after=0.5), {}, ("retry", "+500", "retried", "")),
        (Retry(after=0), {}, ("retry", "+0", "retried", "")),
        (Retry("busy", after=1), {"attempts": 2}, ("bury", "attempts exhausted")),
        (Snooze(60, reason="night"), {}, ("retry", "+60000", "snoozed", "night")),
        (Snooze(60), {"attempts": 2}, ("retry", "+60000", "snoozed", "")),
        (Snooze(until=LATER), {}, ("retry", f"@{NOW + 60_000}", "snoozed", "")),
        (RateLimited(3), {"attempts": 2}, ("retry", "+3000", "limited", "")),
        (Discard("stale"), {}, ("end", "cancelled", "stale")),
        (Discard(), {"attempts": 2}, ("end", "cancelled", "discarded")),
        (Fatal("no such user"), {}, ("bury", "fatal: no such user")),
        (Fatal(), {}, ("bury", "fatal")),
        # A deadline: no run starts at or after it.
        (ValueError("no"), {"deadline_ms": NOW + 10_001}, ("retry", "+10000", "retried", "")),
        (ValueError("no"), {"deadline_ms": NOW + 10_000}, ("bury", "deadline passed")),
        (ValueError("no"), {"deadline_ms": NOW - 1}, ("bury", "deadline passed")),
        (Retry(after=11), {"deadline_ms": NOW + 10_001}, ("bury", "deadline passed")),
        (Snooze(60), {"deadline_ms": NOW + 60_001}, ("retry", "+60000", "snoozed", "")),
        (Snooze(60), {"deadline_ms": NOW + 60_000}, ("bury", "deadline passed")),
        (Snooze(until=LATER), {"deadline_ms": NOW + 60_000}, ("bury", "deadline passed")),
        (RateLimited(3), {"deadline_ms": NOW + 3000}, ("bury", "deadline passed")),
        (Discard("stale"), {"deadline_ms": NOW - 1}, ("end", "cancelled", "stale")),
        # Out of attempts is said even where the deadline has passed, too.
        (ValueError("no"), {"attempts": 2, "deadline_ms": NOW - 1}, ("bury", "attempts exhausted")),
    ],
)
def test_an_outcome_leads_to_its_verdict(
    error: BaseException, envelope: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert told(decided(error, **envelope)) == expected


@pytest.mark.parametrize(
    ("error", "attempts", "errors"),
    [
        (ValueError("no"), 1, 1),
        (Retry("busy"), 1, 1),
        (Fatal("gone"), 1, 1),
        (KeyError("a"), 1, 1),
        (Snooze(5), 0, 0),
        (RateLimited(5), 0, 0),
        (Discard(), 0, 0),
    ],
)
def test_only_failures_use_up_an_attempt_and_enter_the_history(
    error: BaseException, attempts: int, errors: int
) -> None:
    after = decided(error).envelope
    assert after.attempts == attempts
    assert len(after.errors) == errors


def test_the_rest_of_the_envelope_stays_as_it_is() -> None:
    before = Envelope(name="x", headers={"a": "b"}, tenant="t", lane=1, timeout_ms=7, max_attempts=4, keep_result=True)
    after = decide(before, POLICY, failure(ValueError("no")), now_ms=NOW, noise=0.5).envelope
    assert wire.replaced(after, attempts=0, hop=0, errors=[]) == before
    assert before == Envelope(
        name="x", headers={"a": "b"}, tenant="t", lane=1, timeout_ms=7, max_attempts=4, keep_result=True
    )


def test_retry_overrules_no_retry() -> None:
    cautious = Policy(max_attempts=3, backoff=Fixed(10), timeout_ms=None, no_retry=(Exception,))
    assert told(decided(Retry(after=1), policy=cautious)) == ("retry", "+1000", "retried", "")
    assert told(decided(ValueError("no"), policy=cautious)) == ("bury", "no_retry: ValueError")
    assert told(decided(Snooze(1), policy=cautious)) == ("retry", "+1000", "snoozed", "")


@pytest.mark.parametrize("wrong", [broken_backoff, negative_backoff, str])
def test_a_backoff_function_that_fails_buries_the_job_with_the_reason(wrong: Any) -> None:
    verdict = decided(ValueError("no"), policy=Policy(max_attempts=3, backoff=wrong, timeout_ms=None))
    assert isinstance(verdict, Bury)
    assert verdict.reason.startswith("backoff failed: ")
    assert verdict.envelope.errors[-1].type == "ValueError"


def test_a_snooze_into_the_past_runs_at_once() -> None:
    past = datetime.fromtimestamp((NOW - 60_000) / 1000, UTC)
    verdict = decided(Snooze(until=past))
    assert isinstance(verdict, RetryAt)
    assert (verdict.when, verdict.wait_ms) == (f"@{NOW - 60_000}", 0)


# -- the history's entry ---------------------------------------------------------------------------------------------


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_is_kept_as_data() -> None:
    entry = failure(ValueError("no")).as_error(2)
    assert (entry.attempt, entry.type, entry.message, entry.at_ms, entry.duration_ms) == (
        2,
        "ValueError",
        "no",
        NOW,
        12,
    )
    assert failure(Unspeakable()).as_error(1).type == f"{__name__}.Unspeakable"


def test_long_texts_are_cut_where_the_cause_is_not() -> None:
    entry = failure(ValueError("m" * 5000), "start " + "t" * 5000 + " the cause").as_error(1)
    assert entry.message == "m" * wire.MESSAGE_LIMIT
    assert len(entry.traceback) == wire.TRACEBACK_LIMIT
    assert entry.traceback.endswith(" the cause")


@pytest.mark.parametrize(
    "error",
    [Unspeakable(), FileNotFoundError("/tmp/\udcff"), Fatal("\ud800"), Discard("\ud800"), Snooze(1, reason="\ud800")],
)
def test_no_error_text_keeps_a_job_from_being_settled(error: BaseException) -> None:
    verdict = decide(Envelope(name="x"), POLICY, failure(error, "\udcff"), now_ms=NOW, noise=0.5)
    assert wire.decode(wire.encode(verdict.envelope)) == verdict.envelope
    if not isinstance(verdict, RetryAt):  # the reason of a postponed job is not stored
        verdict.reason.encode()


# -- what always holds -----------------------------------------------------------------------------------------------

WAITS = st.floats(min_value=0, max_value=86_400)
STEERS: st.SearchStrategy[Steer] = st.one_of(
    st.builds(Retry, st.text(max_size=3), after=st.none() | WAITS),
    st.builds(Snooze, WAITS),
    st.builds(Snooze, until=st.integers(NOW, NOW + 10**9).map(from_ms)),
    st.builds(RateLimited, WAITS),
    st.builds(Discard, st.text(max_size=3)),
    st.builds(Fatal, st.text(max_size=3)),
)
ERRORS = STEERS | st.sampled_from([ValueError("a"), KeyError("b"), TimeoutError(), Unspeakable(), KeyboardInterrupt()])
BACKOFFS: st.SearchStrategy[Backoff] = st.one_of(
    st.builds(Fixed, WAITS, st.floats(0, 1)),
    st.builds(Linear, WAITS),
    st.builds(Exponential, WAITS),
    st.sampled_from([broken_backoff, lambda attempt: attempt * 2.5]),
)
POLICIES = st.builds(Policy, st.integers(1, 20), BACKOFFS, st.none(), st.sampled_from([(), (KeyError,), (Exception,)]))
NOISE = st.floats(0, 1, exclude_max=True)


@given(POLICIES, st.none() | st.integers(1, 20), st.lists(ERRORS, max_size=60), NOISE)
def test_attempts_never_exceed_their_limit_and_the_hop_always_rises(
    policy: Policy, own: int | None, errors: list[BaseException], noise: float
) -> None:
    envelope = Envelope(name="x", max_attempts=own)
    runs = 0
    for error in errors:
        verdict = decide(envelope, policy, failure(error), now_ms=NOW, noise=noise)
        runs += not isinstance(error, Snooze | RateLimited | Discard)
        assert verdict.envelope.attempts == runs <= (own or policy.max_attempts)
        if not isinstance(verdict, RetryAt):
            break
        assert verdict.envelope.hop > envelope.hop
        assert verdict.envelope.attempts < (own or policy.max_attempts)
        assert len(verdict.envelope.errors) <= wire.ERRORS_KEPT
        envelope = wire.decode(wire.encode(verdict.envelope))


@given(POLICIES, ERRORS, st.integers(NOW - 10_000, NOW + 10**8), NOISE)
def test_no_job_is_put_back_to_start_at_its_deadline_or_later(
    policy: Policy, error: BaseException, deadline: int, noise: float
) -> None:
    verdict = decide(Envelope(name="x", deadline_ms=deadline), policy, failure(error), now_ms=NOW, noise=noise)
    assume(isinstance(verdict, RetryAt))
    assert isinstance(verdict, RetryAt)
    sign, ms = verdict.when[0], int(verdict.when[1:])
    assert (NOW + ms if sign == "+" else ms) < deadline


@given(POLICIES, ERRORS, NOISE)
def test_a_verdict_is_something_the_store_can_be_told(policy: Policy, error: BaseException, noise: float) -> None:
    verdict = decide(Envelope(name="x"), policy, failure(error), now_ms=NOW, noise=noise)
    if isinstance(verdict, RetryAt):
        assert verdict.when[0] in "+@"
        assert int(verdict.when[1:]) >= 0
        assert verdict.wait_ms is not None
        assert verdict.wait_ms >= 0
        assert verdict.count in {"retried", "snoozed", "limited"}
    else:
        assert verdict.reason
    if isinstance(verdict, End):
        assert verdict.state in {JobState.CANCELLED, JobState.EXPIRED}


# -- the table of transitions ----------------------------------------------------------------------------------------

NOT_YET = {JobState.BLOCKED}
"""States with a name but without a verb so far."""


def test_transitions_are_each_said_once() -> None:
    arrows = [(one.verb, one.source, one.target) for one in TRANSITIONS]
    assert len(set(arrows)) == len(arrows)
    assert all(one.verb and one.who for one in TRANSITIONS)


def test_every_state_is_reached_from_the_start() -> None:
    reached: set[JobState | None] = {None}
    while more := {one.target for one in TRANSITIONS if one.source in reached} - reached:
        reached |= more
    assert reached - {None} == set(JobState) - {JobState.UNKNOWN} - NOT_YET


def test_unknown_is_an_answer_and_no_state() -> None:
    assert all(JobState.UNKNOWN not in (one.source, one.target) for one in TRANSITIONS)


def test_every_unsettled_state_can_still_end() -> None:
    ending = {state for state in JobState if state.is_final}
    while more := {one.source for one in TRANSITIONS if one.target in ending and one.source} - ending:
        ending |= more
    assert ending == set(JobState) - {JobState.UNKNOWN} - NOT_YET


def test_only_a_dead_letter_leaves_a_final_state_and_only_by_replay() -> None:
    assert {state for state in JobState if state.is_final} == {
        JobState.COMPLETED,
        JobState.DEAD,
        JobState.CANCELLED,
        JobState.EXPIRED,
    }
    leaving = {(one.source, one.verb) for one in TRANSITIONS if one.source and one.source.is_final}
    assert leaving == {(JobState.DEAD, "replay")}


@pytest.mark.parametrize(
    ("error", "envelope", "target"),
    [
        (ValueError("no"), {}, JobState.DELAYED),
        (Snooze(1), {}, JobState.DELAYED),
        (Fatal(), {}, JobState.DEAD),
        (Discard(), {}, JobState.CANCELLED),
    ],
)
def test_each_verdict_is_an_arrow_of_the_table(
    error: BaseException, envelope: dict[str, Any], target: JobState
) -> None:
    verbs: dict[type, Callable[[Any], tuple[str, JobState]]] = {
        RetryAt: lambda _: ("retry", JobState.DELAYED),
        Bury: lambda _: ("bury", JobState.DEAD),
        End: lambda verdict: ("end", verdict.state),
    }
    verdict = decided(error, **envelope)
    verb, found = verbs[type(verdict)](verdict)
    assert found is target
    assert (verb, JobState.ACTIVE, target) in {(one.verb, one.source, one.target) for one in TRANSITIONS}
