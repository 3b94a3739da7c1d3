"""What every pair of features means, or why it is refused: the words of the reference page, one of each pair."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from streamq.errors import ConfigError, ConflictingOptions
from tests.matrix.features import FEATURES, PAIRS, Feature, twice

ANY = "*"
TIMES = "delay", "schedule"
LIMITS = "rate", "concurrency", "cancelling"
DEDUPS = "dedup", "debounce", "keep_last"


class Refusal(NamedTuple):
    """A pair that is refused: by which error, which words of it must be there, and why."""

    error: type[ConfigError]
    words: str
    why: str


class Meaning(NamedTuple):
    """A sentence for pairs of these kinds or features."""

    these: Collection[str]
    those: Collection[str]
    sentence: str


REFUSED: dict[frozenset[str], Refusal] = {
    frozenset(pair): Refusal(ConflictingOptions, words, why)
    for *pair, words, why in (
        (
            "conflict-cancel", "group-ordered",
            "cancel_running and the ordered group 'g0' (concurrency=1) cannot be combined",
            "to cancel what runs would undo the order",
        ),
        (
            "conflict-cancel", "dedup-keep-last", "cancel_running and keep_last cannot be combined",
            "to cancel what runs would undo the order",
        ),
        (
            "conflict-cancel", "batch", "cancel_running and batch cannot be combined",
            "a batch has no single victim",
        ),
        ("dedup-debounce", "delay", "debounce and delay cannot be combined", "debounce sets the delay"),
        ("dedup-debounce", "at", "debounce and at cannot be combined", "debounce sets the delay"),
        ("dedup-debounce", "chunks", "debounce and delay cannot be combined", "debounce sets the delay"),
        ("dedup-debounce", "batch", "debounce and batch cannot be combined", "a batch waits already: give it `quiet=`"),
        (
            "dedup-keep-last", "batch", "keep_last and batch cannot be combined",
            "one keeps a single job, the other collects many",
        ),
    )
} | {
    frozenset(pair): Refusal(ConfigError, words, why)
    for *pair, words, why in (
        ("delay", "at", "give delay= or at=, not both", "a job has one time"),
        ("delay", "schedule", "the schedule says when its jobs start", "the schedule says when"),
        ("at", "schedule", "the schedule says when its jobs start", "the schedule says when"),
        ("custom-id", "schedule", "each tick makes the id of its own job", "each tick has an id of its own"),
    )
}  # fmt: skip

MEANINGS: tuple[Meaning, ...] = (
    # priority
    Meaning(
        ["priority"], ["rate", "concurrency", "cancelling"],
        "a better priority is served first at the limit and may pass those that wait; it cannot pass the limit",
    ),
    Meaning(["priority"], ["group"], "priorities first, fair turns inside of each; weights of priorities bound that"),
    Meaning(
        ["priority"], ["ordered", "keep_last"],
        "one priority for a line, that of its first job; another is refused with `ConflictingOptions` while jobs wait",
    ),
    Meaning(["priority"], ["dedup"], "the first job's priority stays; with `replace_priority=True` a better one wins"),
    Meaning(["priority"], ["debounce"], "the last one sent decides"),
    Meaning(["priority"], ["batch"], "a batch has the best priority of its items, which stand in it by priority"),
    Meaning(
        ["priority"], ["delay", "schedule", "expiry", "pause", "breaker"],
        "the priority is kept, and counts from the moment the job waits",
    ),
    Meaning(["priority"], ["priority"], "the weights say how often each priority is first"),
    # rates
    Meaning(
        ["rate-drop"], ["group", "ordered"],
        "a job that meets the closed limit is dropped, or ends as cancelled if it met it later; the group goes on",
    ),
    Meaning(["rate"], ["rate"], "each must have a token; they are taken together or not at all"),
    Meaning(
        ["rate"], ["concurrency", "cancelling"],
        "a token is taken when there is a place, too: none is lost by waiting for one",
    ),
    Meaning(["rate"], ["group"], "what the rate stops waits; other jobs of the group go on"),
    Meaning(["rate"], ["ordered"], "the group waits for its head: that is what order means"),
    Meaning(
        ["rate-drop", "conflict-drop"], DEDUPS,
        "deduplication is asked first; a dropped job does not take the key",
    ),
    Meaning(["rate"], DEDUPS, "only jobs that were added spend tokens"),
    Meaning(["rate"], ["batch"], "one token for a batch"),
    Meaning(["rate"], ["retry", "replay"], "every start takes a token again"),
    Meaning(
        ["rate"], ["limited"],
        "the gate of the provider stays shut for `after`; the attempt is not counted, the token stays spent",
    ),
    Meaning(LIMITS, TIMES, "tokens and places are taken at the start, never reserved ahead"),
    Meaning(["rate"], ["expiry"], "a job that expires in line takes no token"),
    # places
    Meaning(
        ["concurrency", "cancelling"], ["concurrency", "cancelling"],
        "all places at once or none, so that no two jobs can wait for each other",
    ),
    Meaning(["concurrency", "cancelling"], ["group"], "both hold; a key does not hold up the group's other jobs"),
    Meaning(
        ["concurrency-key", "conflict-drop"], ["ordered"],
        "only where the key is the group, else refused: the group would wait for a key of others",
    ),
    Meaning(["concurrency"], ["ordered"], "both hold: the group waits for its head"),
    Meaning(LIMITS, DEDUPS, "independent: one unsettled job of a key, and so many that run"),
    Meaning(
        ["concurrency-key", "conflict-drop"], ["batch"],
        "a batch takes one place; only where both have the same key, else refused",
    ),
    Meaning(["concurrency"], ["batch"], "a batch takes one place"),
    Meaning(
        LIMITS, ["retry"], "the place is free during the backoff; a retry waits for one again",
    ),
    Meaning(LIMITS, ["limited"], "the place is free while the provider rests"),
    Meaning(
        LIMITS, ["pause", "breaker"],
        "what is held takes neither token nor place; afterwards it drains at the limit",
    ),
    Meaning(LIMITS, ["expiry"], "nothing is held while it waits; an expired job never had a place"),
    # groups
    Meaning(
        ["ordered"], ["keep_last"],
        "only where the key is the group, else refused: both would decide the order",
    ),
    Meaning(["group"], ["keep_last"], "the limits of the group stay, the line is that of the key"),
    Meaning(
        ["group", "ordered"], ["dedup", "debounce"],
        'a key is one for the queue; with `scope="group"` each group has its own. A full group refuses first',
    ),
    Meaning(["group", "ordered"], ["batch"], "a batch never mixes groups: its key holds the group, or there is none"),
    Meaning(["group", "ordered"], TIMES, "a job joins its group when it is due: in order of due times"),
    Meaning(["ordered"], ["retry", "limited"], "the job stays the head of its group, which waits with it"),
    Meaning(["ordered"], ["cancel", "expiry", "deadline"], "the next one goes"),
    Meaning(["ordered"], ["replay"], "joins the group again behind all others"),
    Meaning(["group"], ["group", "ordered"], "weights share the turns, the group's limits bound them"),
    Meaning(
        ["group", "ordered"], ["pause", "breaker"],
        "jobs of the group wait in order; the size of the group still counts them",
    ),
    # the same one
    Meaning(
        ["dedup", "debounce", "keep_last"], ["schedule"],
        "decided when the tick is fired; one that meets another counts as fired",
    ),
    Meaning(["dedup", "keep_last"], ["delay"], "decided when added, not when due"),
    Meaning(DEDUPS, ["retry", "limited"], "the job is unsettled all through its retries and keeps the key"),
    Meaning(["dedup-throttle"], ["cancel", "expiry", "deadline", "replay"], "the key is free when its time has passed"),
    Meaning(DEDUPS, ["cancel", "expiry", "deadline"], "with its job the key is free at once"),
    Meaning(DEDUPS, ["replay"], "the key went with the job's death: a replay does not ask for it"),
    Meaning(DEDUPS, ["id"], "both are checked, the id first"),
    Meaning(DEDUPS, ["pause", "breaker"], "a job that is held is unsettled and keeps its key"),
    Meaning(["dedup"], ["batch"], "decided when added: an item joins a batch once"),
    # batches
    Meaning(["batch"], ["expiry", "deadline"], "what expired is left out of the batch"),
    Meaning(["batch"], ["retry", "limited", "replay"], "an item that failed waits for a later batch"),
    Meaning(["batch"], TIMES, "an item joins a batch when it is due"),
    Meaning(["batch"], ["pause", "breaker"], "more may wait than a batch takes; a batch is never larger than its size"),
    Meaning(["batch"], ["cancel"], "a waiting item is left out; of a call that runs, it ends as cancelled afterwards"),
    # times
    Meaning(["delay", "schedule"], ["expiry"], "`expires_in` counts from the enqueue; due after expiry is refused"),
    Meaning(["delay"], ["delay"], "chunks are counted from the job's own time"),
    Meaning(["expiry", "deadline"], ["retry", "limited", "pause", "breaker", "replay"], "time goes on meanwhile"),
    Meaning(["pause", "breaker"], ["schedule"], "ticks fire and their jobs wait; to stop ticks pause the schedule"),
    Meaning(["pause", "breaker"], ["delay"], "a job that is due joins those that wait"),
    Meaning(["schedule"], ["full"], "a tick that finds the queue full is refused and tried again; `misfire=` applies"),
    # bounds and ends
    Meaning(
        ["full"], ["id"], "a job of a known id is answered first, then a full queue refuses",
    ),
    Meaning(["full"], DEDUPS, "a full queue refuses before the key is looked at"),
    Meaning(["full"], [ANY], "every unsettled job counts, wherever it waits"),
    Meaning(
        ["cancel"], [ANY],
        "a waiting job leaves from where it is; one that runs is asked, and gives everything back",
    ),
    Meaning(["breaker"], [ANY], "jobs wait in line while it is open; attempts, keys and order are kept"),
    Meaning(["id"], [ANY], "the id is unique whatever becomes of the job"),
    Meaning(["replay"], [ANY], "the job begins anew with the same options; what was bound to its first life is gone"),
    Meaning(["expiry", "deadline"], [ANY], "each holds by itself: a job that may not start any more is not started"),
    Meaning(["pause"], [ANY], "what waits keeps its place and its options; what runs ends"),
    Meaning(["retry", "limited"], [ANY], "each attempt starts under the same rules as the first"),
)  # fmt: skip


def refusal(first: Feature, second: Feature) -> Refusal | None:
    """Why a pair is refused, None if it is not."""
    return REFUSED.get(frozenset((first.name, second.name)))


def sentence(first: Feature, second: Feature) -> str:
    """What a pair means; raises `LookupError` for one without words."""
    refused = refusal(first, second)
    if refused is not None:
        return f"**refused** (`{refused.error.__name__}`): {refused.why}"
    option = twice(first, second)
    if option == "way":
        return "**one or the other**: ticks are added one by one"
    if option is not None:
        return f"**one or the other**: both are `{option}=`"
    for meaning in MEANINGS:
        if _fits(first, meaning.these) and _fits(second, meaning.those):
            return meaning.sentence
        if _fits(second, meaning.these) and _fits(first, meaning.those):
            return meaning.sentence
    raise LookupError(f"{first.name} x {second.name} has no words")


def _fits(feature: Feature, words: Collection[str]) -> bool:
    return feature.name in words or feature.kind in words or ANY in words


def page() -> str:
    """The reference page."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield "# Pairs of options"
    yield "<!-- Written by tools/make_pairs.py from tests/matrix, where each pair is played. Do not edit. -->"
    yield ""
    yield "What each pair of features means when one job has both. Every pair is tried on real servers with several"
    yield "workers, also while these are killed: no job is lost or ends twice, and no limit is exceeded."
    yield "Look a pair up under either of its features."
    yield ""
    yield f"{len(FEATURES)} features, {len(PAIRS)} pairs, {len(REFUSED)} of them refused when the job is built."
    for feature in FEATURES:
        yield ""
        yield f"## {feature.name}"
        yield ""
        yield f"{feature.says[0].upper()}{feature.says[1:]}."
        yield ""
        yield "| with | |"
        yield "|---|---|"
        said: dict[str, list[str]] = {}
        for other in FEATURES:
            if other is not feature:
                said.setdefault(sentence(feature, other), []).append(other.name)
        for words, names in said.items():
            yield f"| {', '.join(names)} | {words} |"
    yield ""
