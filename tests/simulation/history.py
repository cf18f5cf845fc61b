"""What happened to every task of a world, checked while it happens.

Three sources: what the record store tells followers (each change of a state, in the moment of the change), what its
callers asked and were answered, and what engines began to execute.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope
from inference.runner.held import Held
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import RunnerCrashed
from scheduler.ports.events import TaskChange
from scheduler.ports.log import Delivery
from scheduler.ports.records import (
    Admitted,
    Cancelled,
    Lease,
    NewTask,
    Record,
    Update,
    Updated,
    Written,
)
from scheduler.states import BIRTHS, TABLE, TaskState
from tests.simulation.network import Call, at_once
from tests.simulation.processes import StoreClock

UNCHARGED: Final = frozenset({"RETURNED", "RUNNER_DIED"})
"""Why attempts end that do not count."""
MOVES: Final = frozenset((move.before, move.after) for move in TABLE)


class Breach(AssertionError):
    """A promise was broken."""


@dataclass(slots=True, eq=False)
class Life:
    """One task."""

    id: str
    states: list[tuple[int, TaskState]] = field(default_factory=list)
    """When, by the store's clock, it entered which state."""
    attempt: int = 0
    publication: int = 0
    uncharged: int = 0
    charged: int = 0
    """Attempts that count, by why they ended."""
    task: NewTask | None = None
    """What was asked, with what updates changed."""
    cancelled: bool = False
    """Whether a Cancel of it returned OK."""
    begun: dict[int, str] = field(default_factory=dict)
    """Attempts that an engine began, and where."""
    leased_to: dict[int, str] = field(default_factory=dict)
    written: int = 0
    """Endings that a runner was told are written and that ended the task."""
    shelved: int = 0
    """The publication under which it was put on a shelf last: its message is not needed any more then."""
    isolation: str = ""
    """The group of suspects that it was put into last."""
    judged: int = 0
    """The attempt whose runner's death did that."""

    @property
    def state(self) -> TaskState:
        return self.states[-1][1]


class History:
    """All tasks of one world. Every method raises Breach in the moment in which a promise is broken."""

    def __init__(
        self, store: MemoryStore, clock: StoreClock, note: Callable[..., None], condemn: Callable[[], None]
    ) -> None:
        self.lives: dict[str, Life] = {}
        self.keys: dict[tuple[str, str], list[str]] = {}
        """Tasks that were created under each key."""
        self.breaches: list[str] = []
        self.put_on_log: set[str] = set()
        self.suspects: set[tuple[str, int]] = set()
        """Attempts that were alone in their engines when their runners died."""
        self.letters_removed: set[str] = set()
        self._store = store
        self._clock = clock
        self._note = note
        self._condemn = condemn
        self._heard = store.events.publish
        store.events.publish = self.changed  # type: ignore[method-assign]  # listens in
        self._witnesses: dict[str, Callable[[Call, Any], None]] = {
            "create": self._created,
            "lease": self._leased,
            "renew": self._renewed,
            "finish": self._finished,
            "append_output": self._appended,
            "cancel": self._cancelled,
            "update": self._updated,
            "publish": self._published,
            "park": self._parked,
            "shelve": self._shelved,
            "remove": self._removed,
            "runner_died": self._suspected,
        }

    def breach(self, task_id: str, fault: str) -> None:
        """Note a broken promise. The world goes on until its next look."""
        self._note("BREACH", task_id, fault)
        self.breaches.append(f"{task_id}: {fault}")
        self._condemn()

    def record(self, task_id: str) -> Record | None:
        """Read a record as it is now, around the network."""
        records: list[Record | None] = at_once(self._store.records.get([task_id], True))
        return records[0]

    # What the store tells.

    def changed(self, changes: list[TaskChange]) -> None:
        for change in changes:
            if change.output:
                self._note("output", change.id, change.attempt)
            else:
                self._moved(change)
        self._heard(changes)

    def _moved(self, change: TaskChange) -> None:
        record = self.record(change.id)
        life = self.lives.get(change.id)
        now_ms = self._clock.true_ms()
        self._note(change.state.name, change.id, change.attempt)
        if record is None:
            self.breach(change.id, f"became {change.state.name} and has no record")
            return
        if life is None:
            life = self.lives[change.id] = Life(change.id)
            if change.state not in BIRTHS:
                self.breach(change.id, f"began as {change.state.name}")
        elif life.state.terminal:
            self.breach(change.id, f"ended as {life.state.name} and became {change.state.name}")
        elif (life.state, change.state) not in MOVES:
            self.breach(change.id, f"moved from {life.state.name} to {change.state.name}")
        life.states.append((now_ms, change.state))
        queued = change.state is TaskState.QUEUED
        if record.publication != life.publication + queued:
            self.breach(
                change.id,
                f"{change.state.name} under publication {record.publication} after {life.publication}",
            )
        if life.attempt and life.states[-2][1] is TaskState.RUNNING:
            self._left(life, record)
        elif record.uncharged != life.uncharged:
            self.breach(change.id, f"{record.uncharged} attempts uncharged after {life.uncharged}")
        if change.state is TaskState.RUNNING:
            self._started(life, record, now_ms)
        elif record.attempt != life.attempt:
            self.breach(change.id, f"{change.state.name} with attempt {record.attempt} after {life.attempt}")
        life.attempt, life.publication, life.uncharged = record.attempt, record.publication, record.uncharged

    def _left(self, life: Life, record: Record) -> None:
        """Count the attempt that has ended, unless nobody may be charged for it."""
        reason = record.history[-1].reason
        spared = life.state is TaskState.QUEUED and reason in UNCHARGED
        life.charged += not spared
        if record.uncharged != life.uncharged + spared:
            self.breach(
                life.id, f"{record.uncharged} attempts uncharged after {life.uncharged}, for {reason}"
            )
        if reason == RunnerCrashed.reason and (life.id, life.attempt) not in self.suspects:
            self.breach(life.id, f"attempt {life.attempt} charged for a death beside others")

    def _started(self, life: Life, record: Record, now_ms: int) -> None:
        if record.attempt != life.attempt + 1:
            self.breach(life.id, f"attempt {record.attempt} after {life.attempt}")
        task = life.task
        if task is None:
            self.breach(life.id, "started before it was recorded")
            return
        if life.charged >= task.max_attempts:
            self.breach(
                life.id, f"attempt {record.attempt} after {life.charged} charged of {task.max_attempts}"
            )
        if now_ms < task.not_before_ms:
            self.breach(life.id, f"started {task.not_before_ms - now_ms} ms before its time")
        if 0 < task.deadline_ms <= now_ms:
            self.breach(life.id, f"started {now_ms - task.deadline_ms} ms after its deadline")
        for parent in task.parents:
            if parent not in self.lives or not self.lives[parent].state.terminal:
                self.breach(life.id, f"started before its parent {parent} ended")

    # What engines do.

    def began(self, runner: str, held: Held, among: Sequence[Held]) -> None:
        """Note an execution, and what else is in that engine."""
        self._note("began", held.key, runner)
        life = self.lives[held.id]
        if held.attempt in life.begun:
            self.breach(held.id, f"attempt {held.attempt} begun by {life.begun[held.attempt]} and {runner}")
        life.begun[held.attempt] = runner
        if life.leased_to.get(held.attempt) != runner:
            self.breach(held.id, f"attempt {held.attempt} begun by {runner} without a lease")
        if held.isolation != life.isolation:
            self.breach(held.id, f"begun in isolation {held.isolation!r} and belongs into {life.isolation!r}")
        if any(other.isolation != held.isolation for other in among):
            self.breach(held.id, f"begun in isolation {held.isolation!r} beside others")

    # What callers asked and were answered.

    def witness(self, call: Call, answer: Any) -> None:
        """See one call that a server did."""
        see = self._witnesses.get(call.method)
        if see is not None:
            see(call, answer)

    def _created(self, call: Call, answer: Any) -> None:
        if isinstance(call.args[0], list):
            for task, admission in zip(call.args[0], answer[0], strict=True):
                if task.idempotency_key:
                    made = self.keys.setdefault((task.tenant, task.idempotency_key), [])
                    if admission.verdict is Admitted.CREATED and admission.task_id not in made:
                        made.append(admission.task_id)
                        if len(made) > 1:
                            self.breach(task.id, f"key {task.idempotency_key} made {made}")
                if admission.verdict is Admitted.CREATED and admission.task_id in self.lives:
                    life = self.lives[admission.task_id]
                    # The client's own times: what the gateway made of them is what is checked.
                    sealed = Envelope.FromString(task.envelope)
                    asked = task._replace(
                        not_before_ms=sealed.not_before_ms,
                        deadline_ms=sealed.deadline_ms,
                        parents=tuple(sealed.parents),
                    )
                    life.task = life.task or asked

    def _leased(self, call: Call, answer: Any) -> None:
        for (task_id, publication, _), reply in zip(call.args[0], answer, strict=True):
            if reply.verdict is Lease.GRANTED:
                life = self.lives[task_id]
                life.leased_to[reply.attempt] = call.args[1]
                if publication != life.publication:
                    self.breach(task_id, f"leased by publication {publication} of {life.publication}")

    def _renewed(self, call: Call, answer: Any) -> None:
        for hold, kept in zip(call.args[0], answer, strict=True):
            life = self.lives[hold.id]
            if kept and not (life.state is TaskState.RUNNING and life.attempt == hold.attempt):
                self.breach(
                    hold.id, f"renewed for attempt {hold.attempt} in {life.state.name} {life.attempt}"
                )

    def _finished(self, call: Call, answer: Any) -> None:
        for ending, verdict in zip(call.args[0], answer, strict=True):
            life = self.lives[ending.id]
            if verdict is not Written.WRITTEN:
                continue
            if ending.attempt != life.attempt:
                self.breach(ending.id, f"attempt {ending.attempt} finished what belongs to {life.attempt}")
            if life.state.terminal:
                life.written += 1
                if life.written > 1:
                    self.breach(ending.id, f"finished {life.written} times")

    def _appended(self, call: Call, answer: Any) -> None:
        for chunk, sequence in zip(call.args[0], answer, strict=True):
            life = self.lives[chunk.id]
            if sequence and not (life.state is TaskState.RUNNING and life.attempt == chunk.attempt):
                self.breach(
                    chunk.id, f"output of attempt {chunk.attempt} in {life.state.name} {life.attempt}"
                )

    def _cancelled(self, call: Call, answer: Any) -> None:
        for task_id, verdict in zip(call.args[0], answer, strict=True):
            if verdict is Cancelled.CANCELLED:
                self.lives[task_id].cancelled = True

    def _updated(self, call: Call, answer: Any) -> None:
        for update, verdict in zip(call.args[0], answer[0], strict=True):
            life = self.lives.get(update.id)
            if verdict is Updated.UPDATED and life is not None and life.task is not None:
                life.task = _with(life.task, update)

    def _suspected(self, call: Call, answer: Any) -> None:
        for death in call.args[0]:
            life, record = self.lives[death.id], self.record(death.id)
            # A report that came after the end of the lease, or came again, did nothing.
            done = record is not None and record.history[-1].reason in ("RUNNER_DIED", RunnerCrashed.reason)
            if done and life.attempt == death.attempt and life.judged < death.attempt:
                life.isolation, life.judged = death.isolation, death.attempt

    def _removed(self, call: Call, answer: Any) -> None:
        self.letters_removed.update(call.args[0])

    def accepted(self, task_id: str) -> None:
        """Note that a Submit returned OK: from now on the task outlives the record store too. One that was moved since
        another gateway recorded it is its mover's to put on the log.
        """
        life = self.lives.get(task_id)
        if life is None:
            self.breach(task_id, "accepted, and has no record")
        elif task_id not in self.put_on_log and not life.state.terminal and life.publication <= 1:
            self.breach(task_id, "accepted, and is not on the log")

    def _shelved(self, call: Call, answer: Any) -> None:
        for (task_id, publication), done in zip(call.args[1], answer, strict=True):
            life = self.lives[task_id]
            if done and life.publication == publication and life.state is TaskState.QUEUED:
                life.shelved = publication

    def _published(self, call: Call, answer: None) -> None:
        self._parked(call, answer)

    def _parked(self, call: Call, answer: None) -> None:
        for publication in Bundle.FromString(call.args[1]).publications:
            self.put_on_log.add(publication.envelope.id)

    def acknowledged(self, deliveries: Sequence[Delivery]) -> None:
        """See messages that the log may forget: nobody needs them any more, or something is lost."""
        for delivery in deliveries:
            for publication in Bundle.FromString(delivery.payload).publications:
                life = self.lives.get(publication.envelope.id)
                if (
                    life is None
                    or life.publication != publication.publication
                    or life.shelved == life.publication
                ):
                    continue
                if life.state in (TaskState.QUEUED, TaskState.RUNNING):
                    self.breach(life.id, f"acknowledged while it is {life.state.name}")


def _with(task: NewTask, update: Update) -> NewTask:
    return task._replace(
        level=update.level,
        deadline_ms=update.deadline_ms,
        not_before_ms=update.not_before_ms,
        envelope=update.envelope,
    )
