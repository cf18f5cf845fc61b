"""What must hold at the end of a world, when all trouble is over and nothing is left to do."""

from collections.abc import Iterator
from typing import Final

from forebay.tasks.v1.envelope_pb2 import Endings, Envelope
from forebay.tasks.v1.task_pb2 import Result
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from scheduler.ids import PARTITIONS
from scheduler.policies.failures import FailureClass, failure_class
from scheduler.policies.parents import OnParentFailure
from scheduler.ports.records import Record
from scheduler.states import TaskState
from tests.simulation.gateways import TENANT
from tests.simulation.history import Life
from tests.simulation.network import at_once
from tests.simulation.runners import SimulatedRunner
from tests.simulation.world import SETTINGS, World

EVERYWHERE: Final = range(PARTITIONS)
RELEASE_MS: Final = 2_000
"""How long after the end of a lease, at most, a task whose runner died is leased again."""
END_MS: Final = 1_000
"""How long after its deadline, at most, a task ends."""
START_MS: Final = 1_000
"""How long after its time, at most, a task starts."""


def restless(world: World) -> list[str]:
    """Return what is left to do; nothing when the world has come to rest."""
    due = at_once(world.store.sweeps.due(EVERYWHERE, 0))
    left = [
        f"{name} left in partitions {found}"
        for name, found in zip(due._fields, due, strict=True)
        if isinstance(found, list) and found
    ]
    left += [
        f"{life.id} is {life.state.name}" for life in world.history.lives.values() if not life.state.terminal
    ]
    left += [
        f"{waiting} messages on {lane}" for lane in world.lanes if (waiting := world.log.unacknowledged(lane))
    ]
    for post in world.posts:
        if (
            isinstance(post.actor, SimulatedRunner)
            and post.actor.workload is not None
            and len(post.actor.workload)
        ):
            left.append(f"{post.name} holds {[one.key for one in post.actor.workload.held()]}")
    return left


def judge(world: World) -> list[str]:
    """Return every promise that was broken."""
    faults = list(world.history.breaches)
    faults += restless(world)
    for life in world.history.lives.values():
        record = world.history.record(life.id)
        if record is None:
            faults.append(f"{life.id} has no record")
            continue
        faults += _of_one(world, life, record)
    faults += [
        f"{task_id} was accepted and is lost"
        for task_id in world.clients.accepted
        if task_id not in world.history.lives
    ]
    faults += _counts(world)
    faults += _dead_letters(world)
    faults += _journal(world)
    faults += _schedules(world)
    if world.weather.calm:
        faults += _promptness(world)
    return faults


def _of_one(world: World, life: Life, record: Record) -> Iterator[str]:
    if record.state is not life.state:
        yield f"{life.id} is {record.state.name} and was told to be {life.state.name}"
    if life.id in world.clients.cancelled and (record.state is not TaskState.CANCELLED or record.result):
        yield f"{life.id} was cancelled, and is {record.state.name}"
    ends = [state for _, state in life.states if state.terminal]
    if len(ends) > 1:
        yield f"{life.id} ended {len(ends)} times: {ends}"
    chunks = [
        StreamOutputResponse.FromString(payload)
        for _, payload in at_once(world.store.records.output(life.id, 0, 10_000))
    ]
    closed = [int(chunk.state) for chunk in chunks if chunk.state]
    if len(closed) > 1 or (closed and chunks[-1].state != int(record.state)):
        yield f"{life.id} is {record.state.name} and its stream ends with {closed}"
    if record.state is TaskState.SUCCEEDED:
        text = Result.FromString(record.result).generate.text
        if text != f"{record.attempt}." * 3:
            yield f"{life.id} ended in attempt {record.attempt} with {text!r}"
        shown = ""
        for chunk in chunks:
            shown = chunk.text if chunk.restarted else shown + chunk.text
        if shown != text:
            yield f"{life.id} has the result {text!r} and showed {shown!r}"
    elif record.result:
        yield f"{life.id} is {record.state.name} and has a result"
    yield from _of_a_child(world, life, record)
    yield from _of_a_parent(world, life, record)


def _of_a_child(world: World, life: Life, record: Record) -> Iterator[str]:
    parents = life.task.parents if life.task is not None else ()
    states = [world.history.lives[parent].state for parent in parents if parent in world.history.lives]
    if any(entry.reason == "PARENT_FAILED" for entry in record.history) and all(
        state is TaskState.SUCCEEDED for state in states
    ):
        yield f"{life.id} ended for its parents, which all succeeded"


def _of_a_parent(world: World, life: Life, record: Record) -> Iterator[str]:
    if life.task is None or not any(state is TaskState.RUNNING for _, state in life.states):
        return
    choice = int(Envelope.FromString(record.envelope).on_parent_failure)
    for parent in life.task.parents:
        state = world.history.lives[parent].state
        if state is not TaskState.SUCCEEDED and choice != OnParentFailure.RUN:
            yield f"{life.id} ran although {parent} is {state.name}"


def _counts(world: World) -> Iterator[str]:
    for count in at_once(world.store.records.queue_counts()):
        if count.queued or count.running or count.waiting:
            yield f"counters of an empty queue: {count}"


def _dead_letters(world: World) -> Iterator[str]:
    letters = at_once(world.store.dead_letters.dead_letters(TENANT, "", 10_000))
    if len(set(letters)) != len(letters):
        yield f"a dead letter is there twice: {letters}"
    for life in world.history.lives.values():
        record = world.history.record(life.id)
        if record is None or life.task is None:
            continue
        reason = record.history[-1].reason
        exhausted = (
            record.state is TaskState.FAILED
            and record.attempt - record.uncharged >= life.task.max_attempts
            and failure_class(reason) is not FailureClass.PERMANENT
        )
        expected = exhausted and life.id not in world.history.letters_removed
        if expected != (life.id in letters):
            told = "not " * expected + "a dead letter"
            yield f"{life.id} is {record.state.name} ({reason}), attempt {record.attempt}, and {told}"
        if (
            record.state is TaskState.FAILED
            and not exhausted
            and failure_class(reason) is not FailureClass.PERMANENT
        ):
            yield f"{life.id} failed for {reason} in attempt {record.attempt} of {life.task.max_attempts}"


def _journal(world: World) -> Iterator[str]:
    written: dict[str, int] = {}
    for payload in world.log.journal:
        for ended in Endings.FromString(payload).ended:
            for task_id in ended.ids:
                if written.setdefault(task_id, ended.state) != ended.state:
                    yield f"{task_id} has two endings in the journal"
    for life in world.history.lives.values():
        if life.state.terminal and written.get(life.id) != life.state:
            yield f"{life.id} ended as {life.state.name}, and the journal has {written.get(life.id)}"


def _schedules(world: World) -> Iterator[str]:
    for (_, key), made in world.history.keys.items():
        if key.startswith("schedule/") and len(made) != 1:
            yield f"{key} made {made}"


def _promptness(world: World) -> Iterator[str]:
    """In a calm world there is always room: nothing waits for longer than was promised."""
    for death_ms, ids in world.deaths:
        for task_id in ids:
            states = world.history.lives[task_id].states
            again = [
                at
                for at, state in states
                if at >= death_ms and (state is TaskState.RUNNING or state.terminal)
            ]
            if again and again[0] > death_ms + SETTINGS.lease_ms + RELEASE_MS:
                yield f"{task_id} waited {again[0] - death_ms} ms after its runner died"
    for life in world.history.lives.values():
        ended_ms = life.states[-1][0]
        if life.task is not None and life.task.deadline_ms and ended_ms > life.task.deadline_ms + END_MS:
            yield f"{life.id} ended {ended_ms - life.task.deadline_ms} ms after its deadline"
        if life.task is not None and life.task.not_before_ms and not life.task.parents:
            started = [at for at, state in life.states if state is TaskState.RUNNING]
            if started and started[0] > life.task.not_before_ms + START_MS:
                yield f"{life.id} started {started[0] - life.task.not_before_ms} ms after its time"
