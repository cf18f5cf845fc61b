"""What becomes of a task that the log knows and the records do not. Pure decisions: no I/O, no clock."""

from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Final, NamedTuple

from forebay.tasks.v1.envelope_pb2 import Envelope, Publication
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.errors import ParentOutputUnusable
from scheduler.ids import is_task_id
from scheduler.policies.parents import OnParentFailure
from scheduler.ports.follow_ups import ChildVerdict, Release
from scheduler.ports.records import NewTask
from scheduler.states import Level, TaskState
from services.parting import release_of
from services.recovery.finished import Finished
from services.status import to_status

_LEVELS: Final = frozenset(int(level) for level in Level)


class Fault(Enum):
    """Why an envelope cannot be used."""

    DAMAGED = "damaged"
    """Its specification is not the one that was accepted."""
    UNREADABLE = "unreadable"
    """It is no envelope of a task."""


def fault_of(envelope: Envelope) -> Fault | None:
    """Return what is wrong with an envelope; None when it can be used."""
    if not (is_task_id(envelope.id) and envelope.pool and envelope.priority in _LEVELS):
        return Fault.UNREADABLE
    return None if sha256(envelope.spec).digest() == envelope.sha256 else Fault.DAMAGED


class Standing(NamedTuple):
    """The best that the log has of a task. Of two envelopes the higher (revision, publication) counts."""

    revision: int
    publication: int
    """Of the best envelope."""
    newest: int
    """The highest publication number of all its envelopes."""

    def with_(self, found: Publication) -> "Standing":
        """Return what stands after another envelope of the task was met."""
        best = max((self.revision, self.publication), (found.envelope.revision, found.publication))
        return Standing(*best, max(self.newest, found.publication))

    def is_of(self, found: Publication) -> bool:
        """Whether this is the envelope that counts."""
        return (self.revision, self.publication) == (found.envelope.revision, found.publication)


NOTHING: Final = Standing(-1, -1, 0)


class Plan(NamedTuple):
    """How a missing task is recorded."""

    task: NewTask
    release: Release | None = None
    """What ends it straight afterwards: a parent that is known to have ended decides it."""


def plan(envelope: Envelope, newest: int, finished: Finished) -> Plan:
    """Decide how a task is recorded whose envelope counts. `newest` is its highest publication number.

    BLOCKED while parents have not ended, SCHEDULED when it has a time, else QUEUED; under the next publication:
    whatever is still on its way under an older one is stale.
    """
    ended = {parent: state for parent in envelope.parents if (state := finished.state_of(parent))}
    waits_for = tuple(parent for parent in envelope.parents if parent not in ended)
    release = _ended_by(envelope, ended)
    if release:
        state = TaskState.BLOCKED
        waits_for = waits_for or (release.parent,)
    elif waits_for:
        state = TaskState.BLOCKED
    else:
        # Whether its time has come is for the record store's clock to say.
        state = TaskState.SCHEDULED if envelope.not_before_ms else TaskState.QUEUED
    key = TaskSpec.FromString(envelope.spec).idempotency_key if envelope.fingerprint else ""
    return Plan(
        NewTask(
            envelope.id,
            envelope.tenant,
            envelope.pool,
            Level(envelope.priority),
            envelope.SerializeToString(),
            max(1, envelope.max_attempts),
            envelope.deadline_ms,
            key,
            envelope.fingerprint if key else "",
            state,
            envelope.not_before_ms,
            waits_for,
            newest + 1,
            envelope.model,
        ),
        release,
    )


def _ended_by(envelope: Envelope, ended: Mapping[str, TaskState]) -> Release | None:
    """Return the release that ends a task because of parents that the journal knows; None when it may still run."""
    choice = OnParentFailure.of(envelope.on_parent_failure)
    for parent, state in ended.items():
        release = release_of(envelope.id, parent, state, choice, takes_outputs=envelope.takes_outputs)
        if release.verdict is not ChildVerdict.RUN:
            return release
    if not (ended and envelope.takes_outputs):
        return None
    spec = TaskSpec.FromString(envelope.spec)
    for reference in spec.inputs_from:
        parents = envelope.parents
        parent = parents[reference.parent] if 0 <= reference.parent < len(parents) else ""
        if parent in ended:
            lost = ParentOutputUnusable(f"the output of the task {parent} was lost with its record")
            return Release(
                envelope.id, parent, ChildVerdict.FAIL, to_status(lost).SerializeToString(), lost.reason
            )
    return None
