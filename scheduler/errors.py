"""Everything that can go wrong, as one tree.

    ForebayError
    ├── InvalidInput            INVALID_ARGUMENT: the request can never succeed as it is
    ├── NotFound                there is no such thing for this caller
    │   ├── TaskNotFound        no such task
    │   ├── ModelNotFound       no runner announces the model, or no repository has it
    │   ├── DeadLetterNotFound  no such dead letter
    │   ├── ScheduleNotFound    no such schedule
    │   └── PauseNotFound       no such pause
    ├── KeyConflict             the idempotency key belongs to another body
    ├── ScheduleExists          the name belongs to another schedule
    ├── TaskNotWaiting          the task runs or has ended: it cannot be changed
    ├── NotReplayable           the dead letter is a message that nobody could read
    ├── TaskMoved               the task changed while it was being changed; try again
    ├── PolicyMoved             the policy is not the one that the change was meant for
    ├── OutputGone              the wanted part of a stream is no longer kept
    ├── CacheOff                the gateway has no result cache
    ├── SequenceUnknown         the sequence never began, was idle for too long, or its runner is gone
    ├── Overloaded              a limit is reached; try again later
    │   └── QuotaExceeded       a limit of the policy, on what may wait or come in
    ├── Unauthenticated         nobody knows who calls
    ├── OperatorOnly            the caller does not operate the platform
    ├── Unsupported             the contract has such a call, and this platform does not do it
    ├── ServerUnavailable       something that is needed does not answer; try again
    │   ├── LogUnavailable      the message log
    │   ├── RecordsUnavailable  the record store
    │   ├── ModelNotReady       the runners of the model load it, or cannot be reached
    │   ├── PurgeNotShared      a purge holds on one gateway, and could not be told or written
    │   ├── RunnerGone          the runner went while it had the call, which it may have begun
    │   └── ShuttingDown        this process takes no more work
    ├── TaskFailure             why a task ended without a result
    │   ├── ModelFailed         the model raised an error on this input
    │   ├── ModelOutOfMemory    the model wanted more memory for this input than there is
    │   ├── RunnerLost          its runners lost their leases until attempts were used up
    │   │   ├── RunnerCrashed   its runners died executing it
    │   │   └── RunnerOutOfMemory  its runners were killed for the memory that they used
    │   ├── TaskCancelled       CancelTasks ended it
    │   ├── DeadlinePassed      it did not end in time
    │   ├── ParentFailed        a task that it depends on did not succeed
    │   ├── ParentOutputUnusable  the output of a parent cannot become its input
    │   ├── EnvelopeDamaged     what the log delivered is not what was accepted
    │   └── MessageUnreadable   what the log delivered is no task at all
    ├── ModelUnusable           a model cannot be loaded
    │   └── RuntimeMissing      no ONNX Runtime, or two of them
    ├── ImportRefused           a model file cannot be converted
    └── StartupRefused          a process cannot start; the message says what to do

`reason` is stable and part of the contract: it travels as ErrorInfo.reason. How an error becomes a gRPC status
is the business of one table in `services/status.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class ForebayError(Exception):
    """Root of the tree. The message is safe to show to a client: never a prompt, an output or a secret."""

    reason: ClassVar[str] = "INTERNAL"


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field of a request."""

    field: str
    """Path as in google.rpc.BadRequest, for example `tasks[3].generate.top_p`."""
    fault: str
    """What was expected and what was got; a sentence without the value of a secret or a prompt."""


class InvalidInput(ForebayError):
    """The request can never succeed as it is. Carries every fault found, not only the first."""

    reason = "INVALID_INPUT"

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{f.field}: {f.fault}" if f.field else f.fault for f in faults))

    @classmethod
    def of(cls, field: str, fault: str) -> "InvalidInput":
        """Make one of a single fault."""
        return cls([FieldFault(field, fault)])


class NotFound(ForebayError):
    """There is no such thing for this caller."""

    reason = "NOT_FOUND"
    kind: ClassVar[str] = "thing"
    """What kind of thing, for google.rpc.ResourceInfo."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


class TaskNotFound(NotFound):
    """There is no such task for this caller."""

    reason = "TASK_NOT_FOUND"
    kind = "task"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(task_id, f"task {task_id} does not exist, or its record has expired")


class ModelNotFound(NotFound):
    """No runner announces the model, or no repository has it."""

    reason = "MODEL_NOT_FOUND"
    kind = "model"

    def __init__(self, model: str, pool: str = "", message: str = "") -> None:
        """`model` is as the client named it, version included."""
        super().__init__(model, message or f"no runner of pool {pool} announces a model {model}")


class AnswerNotCached(NotFound):
    """The result cache does not have the answer, and the caller wants it from there or not at all."""

    reason = "ANSWER_NOT_CACHED"
    kind = "cached answer"

    def __init__(self, model: str, why: str = "") -> None:
        """`why` is a word for what can never be cached; empty when it is only not there."""
        super().__init__(
            model, f"the answer of {model} is not cached" + (f", and cannot be: {why}" if why else "")
        )


class DeadLetterNotFound(NotFound):
    """There is no such dead letter for this caller."""

    reason = "DEAD_LETTER_NOT_FOUND"
    kind = "dead letter"

    def __init__(self, letter_id: str) -> None:
        super().__init__(letter_id, f"{letter_id} is not among the dead letters (any more)")


class ScheduleNotFound(NotFound):
    """There is no such schedule for this caller."""

    reason = "SCHEDULE_NOT_FOUND"
    kind = "schedule"

    def __init__(self, name: str) -> None:
        super().__init__(name, f"there is no schedule {name}")


class PauseNotFound(NotFound):
    """There is no pause with exactly this selector."""

    reason = "PAUSE_NOT_FOUND"
    kind = "pause"

    def __init__(self, selector: str) -> None:
        super().__init__(selector, f"nothing is paused by {selector}")


class KeyConflict(ForebayError):
    """The idempotency key was used before with another body."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, task_id: str, differing: Sequence[str] = ()) -> None:
        """`differing` names fields of the two specs that are not equal; never their values."""
        self.task_id = task_id
        self.differing = tuple(differing)
        fields = f": {', '.join(self.differing)} differ" if differing else ""
        super().__init__(
            f"the idempotency key belongs to task {task_id}, which was submitted with another body{fields}"
        )


class ScheduleExists(ForebayError):
    """The name belongs to a schedule that is not the same."""

    reason = "SCHEDULE_EXISTS"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is another schedule {name}; delete it first, or choose another name")


class TaskNotWaiting(ForebayError):
    """The task runs or has ended, so it cannot be changed."""

    reason = "TASK_NOT_WAITING"

    def __init__(self, task_id: str, state: str) -> None:
        self.task_id = task_id
        super().__init__(f"task {task_id} is {state}: only a task that waits can be changed")


class NotReplayable(ForebayError):
    """The dead letter is a message that nobody could read."""

    reason = "NOT_REPLAYABLE"

    def __init__(self, letter_id: str) -> None:
        self.letter_id = letter_id
        super().__init__(f"{letter_id} is a message that could not be read: there is no task in it to replay")


class TaskMoved(ForebayError):
    """The task changed while it was being changed; the same request can succeed now."""

    reason = "TASK_MOVED"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"task {task_id} moved while it was being changed; try again")


class PolicyMoved(ForebayError):
    """The policy that stands is not the one that the change was meant for."""

    reason = "POLICY_MOVED"

    def __init__(self, wanted: int | None, standing: int) -> None:
        """`wanted` is the version that the change was meant for; None when it was meant for whichever stands, and that
        changed again and again.
        """
        self.standing = standing
        meant = (
            "the policy keeps changing" if wanted is None else f"the change was meant for version {wanted}"
        )
        super().__init__(f"{meant}; version {standing} of the policy stands now: look at it, and try again")


class OutputGone(ForebayError):
    """The wanted part of a token stream is no longer kept."""

    reason = "OUTPUT_GONE"

    def __init__(self, wanted: int, first_kept: int) -> None:
        self.wanted = wanted
        self.first_kept = first_kept
        super().__init__(
            f"output after sequence {wanted} is no longer kept; the first that is has {first_kept}"
        )


class SequenceUnknown(ForebayError):
    """The state of the sequence is not there: it never began, was idle for too long, or its runner is gone."""

    reason = "SEQUENCE_UNKNOWN"

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "the sequence is not known: it never began, was idle for too long, or its runner is gone"
        )


class Overloaded(ForebayError):
    """A limit is reached; the same request can succeed later."""

    reason = "OVERLOADED"

    def __init__(self, what: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """Which limit a task is over."""

    subject: str
    """Whose limit it is, for example `tenant acme, level low`."""
    description: str
    """What the limit allows, in a sentence that tells nothing of what other tenants have."""


class QuotaExceeded(Overloaded):
    """A limit of the policy is reached; the same task can be accepted later."""

    reason = "QUOTA_EXCEEDED"

    def __init__(self, violations: Sequence[QuotaViolation], retry_after_s: float) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.subject}: {v.description}" for v in violations), retry_after_s)


class Unauthenticated(ForebayError):
    """Nobody knows who calls. The same words whatever is wrong: they must not help anybody who guesses."""

    reason = "UNAUTHENTICATED"

    def __init__(self) -> None:
        super().__init__(
            "this gateway wants an API key that it knows, as metadata `authorization: Bearer KEY` or `x-api-key: KEY`"
        )


class CacheOff(ForebayError):
    """The gateway has no result cache."""

    reason = "CACHE_OFF"

    def __init__(self) -> None:
        super().__init__(
            "this gateway has no result cache: it is started with cache.enabled = true to have one"
        )


class OperatorOnly(ForebayError):
    """The caller does not operate the platform."""

    reason = "OPERATOR_ONLY"

    def __init__(self, what: str) -> None:
        """`what` names the deed, for example `PauseQueue`."""
        super().__init__(f"{what} is for those who operate the platform, and this caller does not")


class Unsupported(ForebayError):
    """The contract has such a call, and this platform does not do it; the message says why."""

    reason = "UNSUPPORTED"


class ServerUnavailable(ForebayError):
    """Something that is needed does not answer; the same request can succeed later."""

    reason = "UNAVAILABLE"

    def __init__(self, what: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what)


class LogUnavailable(ServerUnavailable):
    """The message log does not answer, or its answer did not come in time (outcome unknown)."""

    reason = "LOG_UNAVAILABLE"


class RecordsUnavailable(ServerUnavailable):
    """The record store does not answer, or its answer did not come in time (outcome unknown)."""

    reason = "RECORDS_UNAVAILABLE"


class PurgeNotShared(ServerUnavailable):
    """A purge of the result cache holds on this gateway; the others do not know of it, or its disk would not after a
    restart. Both are tried until they are done.
    """

    reason = "PURGE_NOT_SHARED"

    def __init__(self) -> None:
        super().__init__(
            "the purge holds on this gateway, and the others could not be told, or it could not be written beside the "
            "entries on disk: both are tried until they are done, unless this gateway ends before; "
            "purge again to be sure"
        )


class ModelNotReady(ServerUnavailable):
    """No runner of the model takes work now: they load it, could not load it, or cannot be reached."""

    reason = "MODEL_NOT_READY"


class RunnerGone(ServerUnavailable):
    """The runner went while it had the call, and may have begun it: whether to try again is the client's to say."""

    reason = "RUNNER_GONE"


class ShuttingDown(ServerUnavailable):
    """The process takes no more work."""

    reason = "SHUTTING_DOWN"


class TaskFailure(ForebayError):
    """Why a task ended without a result."""

    reason = "TASK_FAILED"


class ModelFailed(TaskFailure):
    """The model raised an error on this input."""

    reason = "MODEL_FAILED"


class ModelOutOfMemory(TaskFailure):
    """The model wanted more memory for this input than there is. Its runner lives."""

    reason = "MODEL_OUT_OF_MEMORY"


class RunnerLost(TaskFailure):
    """Runners lost their leases until the attempts were used up."""

    reason = "RUNNER_LOST"


class RunnerCrashed(RunnerLost):
    """Runners died while they executed the task until the attempts were used up."""

    reason = "RUNNER_CRASHED"


class RunnerOutOfMemory(RunnerLost):
    """Runners were killed for the memory that they used while they executed the task."""

    reason = "RUNNER_OUT_OF_MEMORY"


class TaskCancelled(TaskFailure):
    """CancelTasks ended it."""

    reason = "TASK_CANCELLED"


class DeadlinePassed(TaskFailure):
    """The task did not end before its deadline."""

    reason = "DEADLINE_PASSED"


class ParentFailed(TaskFailure):
    """A task that this one depends on did not succeed."""

    reason = "PARENT_FAILED"


class ParentOutputUnusable(TaskFailure):
    """The output of a parent cannot become the input of this task."""

    reason = "PARENT_OUTPUT_UNUSABLE"


class EnvelopeDamaged(TaskFailure):
    """What the log delivered is not what was accepted."""

    reason = "ENVELOPE_DAMAGED"


class MessageUnreadable(TaskFailure):
    """What the log delivered is no task at all."""

    reason = "MESSAGE_UNREADABLE"


class ModelUnusable(ForebayError):
    """A model cannot be loaded; the message names the file and the cause."""

    reason = "MODEL_UNUSABLE"


class RuntimeMissing(ModelUnusable):
    """No ONNX Runtime is installed, or two packages of it at once."""

    reason = "RUNTIME_MISSING"


class ImportRefused(ForebayError):
    """A model file cannot be converted; the message says what was found and what is supported."""

    reason = "IMPORT_REFUSED"


class StartupRefused(ForebayError):
    """A process cannot start; one sentence that says what is wrong and what to do."""

    reason = "STARTUP_REFUSED"
