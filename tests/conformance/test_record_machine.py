"""Any sequence of calls leads the scripts on a real server to the same answers and records as the store in memory.

Time is left out by taking only times that are long past or never come: the server's clock cannot be held.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from scheduler.ports.answers import CACHED, Answer, Answered
from scheduler.ports.dead_letters import UnreadableLetter
from scheduler.ports.follow_ups import ChildVerdict, Release
from scheduler.ports.records import Ending, OutputChunk, Update
from scheduler.ports.sweeps import Death
from scheduler.states import Level, TaskState
from tests.conformance.pair_machine import HOUR_MS, TASKS, PairMachine, fixed_id
from tests.conformance.pairs import LIMIT
from tests.conformance.stores import FAR_MS

PARTITIONS = (3, 40)
OPEN = [state for state in TaskState if not state.terminal]
UNSTARTED = [state for state in OPEN if state is not TaskState.RUNNING]

tenants = st.sampled_from(["acme"] * 6 + ["other"])
attempts = st.sampled_from([1, 2, 3, 9])
models = st.sampled_from(["add", "llm-1.5b.q8"])
levels = st.sampled_from([Level.NORMAL, Level.HIGH])
times = st.sampled_from([0, 0, 0, 1, FAR_MS])
lease_times = st.sampled_from([0, HOUR_MS, HOUR_MS])
off_by = st.sampled_from([0] * 12 + [1, -1])
wild = st.sampled_from([False] * 5 + [True])
needs = st.sampled_from([0] * 5 + [FAR_MS])
answers = st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED])
picks = st.lists(st.integers(0, TASKS - 1), min_size=1, max_size=4)
outcomes = st.sampled_from(
    [
        (TaskState.SUCCEEDED, -1),
        (TaskState.EXPIRED, -1),
        (TaskState.FAILED, -1),
        (TaskState.FAILED, 0),
        (TaskState.FAILED, 0),
        (TaskState.FAILED, HOUR_MS),
    ]
)


class RecordMachine(PairMachine):
    """Lets anything happen to the tasks of both stores."""

    @initialize(max_attempts=attempts, deadline_ms=times, due_ms=times, resting=st.booleans())
    def begin(self, max_attempts: int, deadline_ms: int, due_ms: int, resting: bool) -> None:
        known = {"tenant": "acme", "level": Level.NORMAL, "max_attempts": max_attempts}
        first, second = [self.new(PARTITIONS[0], **known) for _ in range(2)]
        late = self.new(PARTITIONS[1], state=TaskState.SCHEDULED, not_before_ms=FAR_MS, **known)
        child = self.new(
            PARTITIONS[0],
            state=TaskState.BLOCKED,
            parents=(second.id, late.id),
            not_before_ms=due_ms,
            deadline_ms=deadline_ms,
            **known,
        )
        self.create_tasks(first, second, late, child)
        pairs = [(parent, child.id) for parent in child.parents]
        self.run(self.pair.same(lambda store: store.follow_ups.link(pairs, "acme")))
        if resting:
            self.lease_tasks([(first.id, 1)], HOUR_MS)
            failed = Ending(first.id, 1, TaskState.FAILED, error=b"error", retry_in_ms=HOUR_MS)
            self.run(self.pair.same(lambda store: store.outcomes.finish([failed])))

    @precondition(lambda self: len(self.known) < TASKS)
    @rule(
        partition=st.sampled_from(PARTITIONS),
        tenant=tenants,
        level=levels,
        model=models,
        max_attempts=attempts,
        deadline_ms=times,
        not_before_ms=times,
        publication=st.sampled_from([1, 1, 1, 4]),
    )
    def create(self, partition: int, not_before_ms: int, **fields: Any) -> None:
        state = TaskState.SCHEDULED if not_before_ms else TaskState.QUEUED
        self.create_tasks(self.new(partition, state=state, not_before_ms=not_before_ms, **fields))

    @precondition(lambda self: len(self.known) < TASKS)
    @rule(
        places=picks,
        partition=st.sampled_from(PARTITIONS),
        tenant=tenants,
        model=models,
        deadline_ms=times,
        not_before_ms=times,
        linked=st.booleans(),
    )
    def create_child(
        self, places: list[int], partition: int, tenant: str, linked: bool, **fields: Any
    ) -> None:
        parents = tuple({record.id: None for record in self.pick(places, OPEN, False)})
        child = self.new(
            partition,
            tenant=tenant,
            level=Level.NORMAL,
            max_attempts=2,
            state=TaskState.BLOCKED,
            parents=parents,
            **fields,
        )
        self.create_tasks(child)
        if linked:
            pairs = [(parent, child.id) for parent in parents]
            self.run(self.pair.same(lambda store: store.follow_ups.link(pairs, tenant)))

    @precondition(lambda self: len(self.known) < TASKS)
    @rule(key=st.sampled_from(["a", "b"]), fingerprint=st.sampled_from(["f", "g"]), tenant=tenants)
    def create_with_key(self, key: str, fingerprint: str, tenant: str) -> None:
        task = self.new(
            PARTITIONS[key == "b"],
            tenant=tenant,
            level=Level.NORMAL,
            max_attempts=1,
            idempotency_key=key,
            fingerprint=fingerprint,
        )
        self.create_tasks(task)

    @precondition(lambda self: len(self.known) < TASKS)
    @rule(partition=st.sampled_from(PARTITIONS), deadline_ms=times, streams=st.booleans())
    def create_ended(self, partition: int, deadline_ms: int, streams: bool) -> None:
        task = self.new(
            partition,
            tenant="acme",
            level=Level.NORMAL,
            max_attempts=1,
            deadline_ms=deadline_ms,
            state=TaskState.SUCCEEDED,
            result=b"known",
            reason=CACHED,
            outputs=(b"one", b"end") if streams else (),
        )
        self.create_tasks(task)

    @rule(places=picks, anything=wild, off=off_by, ends=answers, streams=st.booleans())
    def answer(self, places: list[int], anything: bool, off: int, ends: TaskState, streams: bool) -> None:
        known = Answer(ends, b"known", CACHED, (b"one", b"end") if streams else (), b"void")
        answered = [Answered(*one, known) for one in self.queued(places, anything, off)]
        self.run(self.pair.same(lambda store: store.answers.answer(answered)))

    @rule(places=picks, anything=wild, off=off_by, largest=st.sampled_from([3, 1 << 20]))
    def read_outcomes(self, places: list[int], anything: bool, off: int, largest: int) -> None:
        holds = self.holds(places, anything, off)
        self.run(self.pair.same(lambda store: store.answers.outcomes(holds, largest)))

    @rule(places=picks)
    def create_again(self, places: list[int]) -> None:
        self.create_tasks(*(self.known[record.id] for record in self.pick(places, OPEN, False)))
        # One store may keep the repetition under a ticket of its own.
        self.run(self.pair.mark())

    @rule(places=picks, anything=wild, off=off_by, lease_ms=lease_times, need_ms=needs)
    def lease(self, places: list[int], anything: bool, off: int, lease_ms: int, need_ms: int) -> None:
        self.lease_tasks(self.queued(places, anything, off), lease_ms, need_ms)

    @rule(places=picks, anything=wild, off=off_by, lease_ms=lease_times)
    def renew(self, places: list[int], anything: bool, off: int, lease_ms: int) -> None:
        holds = self.holds(places, anything, off)
        self.run(self.pair.same(lambda store: store.leases.renew(holds, lease_ms)))

    @rule(places=picks, anything=wild, off=off_by)
    def give_back(self, places: list[int], anything: bool, off: int) -> None:
        holds = self.holds(places, anything, off)
        self.run(self.pair.handed_out(lambda store: store.leases.give_back(holds)))

    @rule(
        places=picks,
        anything=wild,
        off=off_by,
        outcome=outcomes,
        last=st.sampled_from([b"", b"end"]),
    )
    def finish(
        self, places: list[int], anything: bool, off: int, outcome: tuple[TaskState, int], last: bytes
    ) -> None:
        state, retry_in_ms = outcome
        endings = [
            Ending(hold.id, hold.attempt, state, b"result", b"error", "WORD", last, retry_in_ms)
            for hold in self.holds(places, anything, off)
        ]
        self.run(self.pair.same(lambda store: store.outcomes.finish(endings)))

    @rule(places=picks, anything=wild, off=off_by, after=st.sampled_from([-1, 0, 1]))
    def append(self, places: list[int], anything: bool, off: int, after: int) -> None:
        chunks = [
            OutputChunk(hold.id, hold.attempt, b"text", after) for hold in self.holds(places, anything, off)
        ]
        self.run(self.pair.same(lambda store: store.outcomes.append_output(chunks)))

    @rule(place=st.integers(0, TASKS - 1), tenant=tenants, last=st.sampled_from([b"", b"end"]))
    def cancel(self, place: int, tenant: str, last: bytes) -> None:
        ids = [record.id for record in self.pick([place, place], OPEN, False)]
        self.run(self.pair.same(lambda store: store.queries.cancel(ids, tenant, b"cancelled", last)))

    @rule(
        places=picks,
        state=st.sampled_from(UNSTARTED),
        tenant=tenants,
        off=off_by,
        level=levels,
        deadline_ms=times,
        not_before_ms=times,
    )
    def update(
        self,
        places: list[int],
        state: TaskState,
        tenant: str,
        off: int,
        level: Level,
        deadline_ms: int,
        not_before_ms: int,
    ) -> None:
        updates = [
            Update(record.id, record.publication + off, level, deadline_ms, not_before_ms, b"changed")
            for record in self.pick(places, [state], False)
        ]
        self.run(self.pair.handed_out(lambda store: store.queries.update(updates, tenant)))

    @rule(
        places=picks,
        anything=wild,
        off=off_by,
        charged=st.booleans(),
        isolation=st.sampled_from(["", "a/1"]),
    )
    def runner_dies(self, places: list[int], anything: bool, off: int, charged: bool, isolation: str) -> None:
        deaths = [Death(*hold, charged, isolation) for hold in self.holds(places, anything, off)]
        self.run(self.pair.same(lambda store: store.sweeps.runner_died(deaths, "RUNNER_CRASHED", b"crashed")))

    @rule()
    def sweep_leases(self) -> None:
        self.lease_tasks(self.queued(range(2), False, 0), 0)
        self.run(
            self.pair.handed_out(lambda store: _leases(store, PARTITIONS)),
        )

    @rule()
    def sweep_timers(self) -> None:
        self.run(self.pair.handed_out(lambda store: store.sweeps.wake(PARTITIONS, LIMIT)))

    @rule(limit=st.sampled_from([1, LIMIT]))
    def sweep_deadlines(self, limit: int) -> None:
        self.run(self.pair.same(lambda store: store.sweeps.expire_deadlines(PARTITIONS, limit)))

    @rule(need_ms=needs)
    def promote(self, need_ms: int) -> None:
        if len(self.known) < TASKS:
            known = {"tenant": "acme", "level": Level.NORMAL, "model": "llm-1.5b.q8", "max_attempts": 2}
            self.create_tasks(self.new(PARTITIONS[0], deadline_ms=FAR_MS, **known))
        by_model = {"add": need_ms, "llm-1.5b.q8": FAR_MS}
        self.run(
            self.pair.handed_out(lambda store: store.sweeps.promote(PARTITIONS, HOUR_MS, by_model, LIMIT))
        )

    @rule(places=picks, anything=wild, off=off_by, shelf=st.sampled_from(["x", "y"]))
    def shelve(self, places: list[int], anything: bool, off: int, shelf: str) -> None:
        pairs = self.queued(places, anything, off)
        self.run(self.pair.same(lambda store: store.shelves.shelve(shelf, pairs)))

    @rule(shelf=st.sampled_from(["x", "y"]))
    def unshelve(self, shelf: str) -> None:
        self.run(self.pair.handed_out(lambda store: store.shelves.unshelve(shelf, LIMIT)))

    @rule(
        place=st.integers(0, TASKS - 1),
        parents=st.integers(1, 4),
        verdict=st.sampled_from([ChildVerdict.RUN, ChildVerdict.RUN, *ChildVerdict]),
        reason=st.sampled_from(["PARENT_FAILED", "PARENT_OUTPUT_UNUSABLE"]),
        hold=st.booleans(),
        envelope=st.sampled_from([b"", b"filled"]),
    )
    def release(
        self, place: int, parents: int, verdict: ChildVerdict, reason: str, hold: bool, envelope: bytes
    ) -> None:
        [child] = self.pick([place], [TaskState.BLOCKED], False)
        given = [
            Release(child.id, parent, verdict, hold=hold, envelope=envelope)
            if verdict is ChildVerdict.RUN
            else Release(child.id, parent, verdict, b"parent", reason)
            for parent in (self.known[child.id].parents or (child.id,))[:parents]
        ]
        self.run(self.pair.handed_out(lambda store: store.follow_ups.release(given)))

    @rule(places=picks, child=st.integers(0, TASKS - 1), tenant=tenants)
    def link(self, places: list[int], child: int, tenant: str) -> None:
        [end] = self.pick([child], [TaskState.BLOCKED], False)
        pairs = [(record.id, end.id) for record in self.pick(places, OPEN, False)]
        self.run(self.pair.same(lambda store: store.follow_ups.link(pairs, tenant)))

    @rule(limit=st.sampled_from([1, LIMIT]))
    def follow_up(self, limit: int) -> None:
        self.run(self.pair.follow_up(limit))

    @rule(places=picks, tenant=tenants)
    def remove_letters(self, places: list[int], tenant: str) -> None:
        ids = [record.id for record in self.pick(places, [TaskState.FAILED], False)]
        self.run(self.pair.same(lambda store: store.dead_letters.remove(ids, tenant)))

    @rule(number=st.integers(0, 2))
    def bury(self, number: int) -> None:
        letter = UnreadableLetter(fixed_id(PARTITIONS[1], 10**9 + number), b"\x00", "topic", b"error")
        self.run(self.pair.same(lambda store: store.dead_letters.bury([letter])))

    @rule(mark=st.booleans())
    def look(self, mark: bool) -> None:
        if mark:
            self.run(self.pair.mark())
        self.run(self.pair.agree_on_the_rest(list(self.known), PARTITIONS))


async def _leases(store: Any, partitions: Sequence[int]) -> tuple[Any, ...]:
    back, failed, tickets = await store.sweeps.expire_leases(partitions, LIMIT, b"lost")
    return sorted(failed), back, tickets


@pytest.mark.timeout(60)
def test_the_scripts_do_what_the_store_in_memory_does(valkey_url: str) -> None:
    run_state_machine_as_test(
        cast("type[RecordMachine]", partial(RecordMachine, valkey_url)),
        settings=settings(
            max_examples=50,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
