"""Deliberate defects, and the tests that must notice each of them.

A mutant is an exact replacement of text in a copy of the source. Text that is not there, or there more than once, is an
error: a changed source must not make a mutant harmless in silence.
"""

from __future__ import annotations

from typing import NamedTuple

ALIVE = ("tests/worker/test_results.py::test_values_come_back_as_declared",)
"""Green under a mutant: the mutant is subtle, not a program that does nothing."""


class Edit(NamedTuple):
    """Replace ``old``, found exactly once in ``path`` (below src/streamq), by ``new``."""

    path: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A defect: ``name``; ``why`` it is one; the edits that bring it about; the tests that turn red, each of them.

    ``alive``: tests that stay green.
    """

    name: str
    why: str
    edits: tuple[Edit, ...]
    killers: tuple[str, ...]
    alive: tuple[str, ...] = ALIVE


SETTLE = "_store/lua/settle.lua"
ENQUEUE = "_store/lua/enqueue.lua"
TICK = "_store/lua/tick.lua"
EXCHANGE = "_runtime/exchange.py"
ZOMBIES = "tests/faults/test_zombies.py"
STORE = "tests/store"

MUTANTS: tuple[Mutant, ...] = (
    # -- the ten of the chaos plan ----------------------------------------------------------------------
    Mutant(
        "settle without fence",
        "whoever lost a job settles it all the same: a zombie ends what its successor runs",
        (
            Edit(
                SETTLE,
                "local verb, mine = VERBS[letter], row == token and not done[id]",
                "local verb, mine = VERBS[letter], row and not done[id]",
            ),
        ),
        (
            f"{ZOMBIES}::test_a_zombie_of_a_reclaimed_job",
            f"{ZOMBIES}::test_a_zombie_of_a_released_and_retaken_job",
            f"{STORE}/test_settle.py::test_a_zombie_settles_nothing_after_its_job_was_reclaimed",
        ),
    ),
    Mutant(
        "renew without fence",
        "a zombie's renewal takes the entry back from its successor",
        (Edit("_store/lua/renew.lua", "if rows[n] == token then", "if rows[n] then"),),
        (f"{STORE}/test_renew.py::test_a_zombie_renews_nothing", f"{ZOMBIES}::test_a_zombie_of_a_reclaimed_job"),
    ),
    Mutant(
        "plain XADD enqueue",
        "a batch whose reply was lost is sent again and added again",
        (
            Edit(ENQUEUE, "if known then return known end", "known = nil"),
            Edit(ENQUEUE, "local where = rows[n] and", "local where = #lane > 1 and rows[n] and"),
        ),
        (
            "tests/faults/test_lost_messages.py::test_three_lost_replies_in_a_row_make_no_double_job",
            f"{STORE}/test_enqueue.py::test_the_same_batch_again_gets_the_stored_reply_and_does_nothing",
        ),
    ),
    Mutant(
        "XDEL before XACK, in two calls",
        "between the two a job is pending that does not exist: whoever dies there leaves it so",
        (
            Edit(SETTLE, "  redis.call('XACK', lanes[lane], 'w', unpack(entries))\n", ""),
            Edit(
                EXCHANGE,
                "        if settle is not None:\n            add(settle, self._settled)\n",
                "        for key, entry in self.__dict__.pop('_unacked', ()):\n"
                "            add((b'XACK', key, b'w', entry), self._heard_nothing)\n"
                "        if settle is not None:\n            add(settle, self._settled)\n",
            ),
            Edit(
                EXCHANGE,
                "            self._due.settled(items)\n",
                "            self._due.settled(items)\n"
                "            keys = self._verbs.keys\n"
                "            self.__dict__['_unacked'] = [\n"
                "                (keys.lanes[one.token[0] - 48] if one.token[:1] != b't' else keys.taken,\n"
                "                 one.token[1:].split(b':')[0]) for one in items]\n",
            ),
        ),
        (
            f"{STORE}/test_complete.py",
            f"{STORE}/test_settle.py::test_a_batch_of_all_verbs_is_one_call",
        ),
    ),
    Mutant(
        "XAUTOCLAIM always from 0-0",
        "behind more live leases than one sweep looks at, the jobs of the dead are never found",
        (
            Edit(
                TICK,
                "local from = string.match(cursor, lane[1] .. '=([%d%-]+)') or '0-0'",
                "local from = '0-0'",
            ),
        ),
        (f"{STORE}/test_tick.py::test_the_cursor_is_kept_over_more_leases_than_one_sweep_can_look_at",),
    ),
    Mutant(
        "a sweep that never begins anew",
        "once it came to the end, whoever dies near the beginning is never found",
        (
            Edit(
                TICK,
                "if free > 0 or before == free then from = got[1] end",
                "if (free > 0 or before == free) and got[1] ~= '0-0' then from = got[1] end",
            ),
        ),
        (f"{STORE}/test_tick.py::test_the_cursor_is_kept_over_more_leases_than_one_sweep_can_look_at",),
    ),
    Mutant(
        "DELCONSUMER without a look at what is pending",
        "a worker that leaves takes the jobs it holds along",
        (Edit("_store/lua/leave.lua", "if holds == 0 then", "if holds >= 0 then"),),
        (
            f"{STORE}/test_leave.py::test_what_it_still_holds_stays_its_own",
            f"{ZOMBIES}::test_who_leaves_with_a_job_in_hand_destroys_nothing",
        ),
    ),
    Mutant(
        "promote with ZREM outside of the script",
        "what becomes due between the two calls is removed and never promoted",
        (
            Edit(
                "_store/lua/promote.lua",
                "  if #gone > 0 then redis.call('ZREM', delayed, unpack(gone)) end\n",
                "",
            ),
            Edit(
                EXCHANGE,
                "            add(self._verbs.promote(), self._promoted)\n",
                "            add(self._verbs.promote(), self._promoted)\n"
                "            until = self.clock.now_ms()\n"
                "            due = self._verbs.keys.delayed\n"
                "            add((b'ZREMRANGEBYSCORE', due, b'-inf', until), self._heard_nothing)\n",
            ),
        ),
        (
            f"{STORE}/test_promote.py::test_what_is_due_goes_into_its_lane_earliest_first",
            f"{STORE}/test_promote.py::test_again_promotes_what_is_left",
        ),
    ),
    Mutant(
        "own history read instead of reconcile",
        "after a reconnect everything pending for us is begun, what runs here once more",
        (
            Edit(
                "_runtime/table.py",
                "return sorted(pending - {place_of(one.token) for one in self._rows.values()} - self._abandoned)",
                "return sorted(pending - self._abandoned)",
            ),
        ),
        ("tests/faults/test_server_faults.py::test_redis_killed_and_restarted_with_its_file[valkey]",),
    ),
    Mutant(
        "group re-created at $ by the tick",
        "a lane that lost its group keeps its jobs, and nobody is ever given them",
        (
            Edit(
                TICK,
                "else redis.call('XGROUP', 'CREATE', lane[2], 'w', '0') end",
                "else redis.call('XGROUP', 'CREATE', lane[2], 'w', '$') end",
            ),
        ),
        (f"{STORE}/test_tick.py::test_a_lost_group_is_made_again_and_the_jobs_come_back",),
        alive=(f"{STORE}/test_settle.py::test_a_batch_of_all_verbs_is_one_call",),  # a tick may be first at a new lane
    ),
    Mutant(
        "group created at $ by the fetch",
        "the jobs that made the lane are never given to anybody",
        (
            Edit(
                "_store/lua/_claim.lua",
                "redis.call('XGROUP', 'CREATE', key, 'w', '0')",
                "redis.call('XGROUP', 'CREATE', key, 'w', '$')",
            ),
        ),
        (f"{STORE}/test_fetch.py::test_a_lane_without_its_group_gets_it_from_the_start",),
        alive=(
            f"{STORE}/test_fetch.py::test_an_empty_queue_gives_nothing_and_leaves_nothing",
        ),  # it is good for no more
    ),
    Mutant(
        "a settle batch that is dropped on an error",
        "what the server refused once is left to its lease: done, and done again",
        (
            Edit(
                "_runtime/settler.py",
                "        items = self._take_sent()\n        now = time.monotonic()\n",
                "        items = self._take_sent()\n        now = time.monotonic()\n        if now:\n"
                "            return items\n",
            ),
        ),
        ("tests/faults/test_bad_input.py::test_a_foreign_key_is_in_the_way[window]",),
    ),
    Mutant(
        "counting what the fence refused",
        "a settlement that was not applied is in the statistics all the same",
        (Edit("_store/lua/_tally_settled.lua", "if string.find(answers, '[^a]') then", "if answers == '' then"),),
        (f"{STORE}/test_statistics.py::test_what_was_not_applied_is_not_counted",),
    ),
    # -- those of the review of the first draft ---------------------------------------------------------
    Mutant(
        "fence by the pending entry",
        "who holds the entry, and how often it was delivered, repeats after a release: the zombie has the same",
        (
            Edit(
                SETTLE,
                "  if letter == 'x' or (not row and not done[id]) then\n",
                "  if row and not done[id] then\n"
                "    mine = #redis.call('XPENDING', item.key, 'w', item.entry, item.entry, 1, ARGV[4]) == 1\n"
                "  end\n"
                "  if letter == 'x' or (not row and not done[id]) then\n",
            ),
        ),
        (
            f"{ZOMBIES}::test_a_zombie_of_a_released_and_retaken_job[the same worker",
            f"{STORE}/test_settle.py::test_a_zombie_settles_nothing_after_release_and_retake_by_itself",
        ),
    ),
    Mutant(
        "memo written before the jobs",
        "an error in the middle, and the replay is told that all was taken: acknowledged and lost",
        (
            Edit(
                ENQUEUE,
                "local width = 4\n",
                "local width = 4\nredis.call('SET', memo, seq .. '|' .. whole(now_ms()) .. '|', 'PX', memo_ms)\n",
            ),
        ),
        (f"{STORE}/test_enqueue.py::test_a_batch_that_was_refused_is_taken_when_it_is_sent_again",),
    ),
    Mutant(
        "identity kept over a fork",
        "parent and child share producer and sequence: the batch of one is taken for a replay of the other's",
        (
            Edit(
                "_store/session.py",
                "    for session in list(_sessions):\n        session.forget()\n",
                "    for session in list(_sessions):\n        session.forgotten = False\n",
            ),
        ),
        ("tests/faults/test_producer_faults.py::test_a_fork_between_two_enqueues",),
    ),
    Mutant(
        "suspects reclaimed in parallel",
        "a poison job is given out again with its neighbours, who are buried with it",
        (
            Edit(
                TICK,
                "local suspect = total >= 3 and total - 1 <= max_stalls",
                "local suspect = total < 0",
            ),
        ),
        (f"{STORE}/test_tick.py::test_after_the_second_stall_they_come_one_at_a_time",),
    ),
    Mutant(
        "a doorbell that delivers",
        "who waits in a blocking read is handed jobs past every gate: of a paused queue, say",
        (
            Edit(
                "joint.py",
                "        self.gating: Gating = Gating()\n",
                "        self.bell.__dict__['consumer'] = consumer\n        self.gating: Gating = Gating()\n",
            ),
            Edit(
                "_runtime/bell.py",
                'reply = await self._link.call(b"BLPOP", self._key, WAIT, timeout=WAIT + 5)',
                "lane, consumer = self._key[:-4] + b'l2', self.__dict__['consumer']\n"
                "            words = (b'XREADGROUP', b'GROUP', b'w', consumer, b'COUNT', 1, b'BLOCK', WAIT * 1000)\n"
                "            reply = await self._link.call(*words, b'STREAMS', lane, b'>', timeout=WAIT + 5)",
            ),
        ),
        ("tests/faults/test_doorbell.py::test_an_idle_worker_is_handed_nothing_of_a_paused_queue",),
    ),
    Mutant(
        "success inferred from absence",
        "a job that was lost, removed, or forgotten long ago is told as completed",
        (
            Edit(
                "job.py",
                "return JobState.COMPLETED if state is JobState.UNKNOWN and self._is_recent() else state",
                "return JobState.COMPLETED if state is JobState.UNKNOWN else state",
            ),
            Edit(
                "job.py",
                'if found.place == "window" or self._is_recent():',
                'if found.place in {"window", "absent"}:',
            ),
        ),
        (
            "tests/worker/test_results.py::test_success_is_not_inferred_by_a_handle_that_saw_nothing",
            "tests/worker/test_results.py::test_a_result_is_forgotten_after_its_time",
        ),
    ),
)
