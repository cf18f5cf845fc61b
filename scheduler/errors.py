"""Everything that can go wrong, as one tree.

    ForebayError
    ├── InvalidInput            INVALID_ARGUMENT: the request can never succeed as it is
    ├── TaskNotFound            there is no such task for this caller
    ├── KeyConflict             the idempotency key belongs to another body
    ├── OutputGone              the wanted part of a stream is no longer kept
    ├── Overloaded              a limit is reached; try again later
    ├── ServerUnavailable       something that is needed does not answer; try again
    │   ├── LogUnavailable      the message log
    │   ├── RecordsUnavailable  the record store
    │   └── ShuttingDown        this process takes no more work
    ├── TaskFailure             why a task ended without a result
    │   ├── ModelFailed         the model raised an error on this input
    │   ├── RunnerLost          its runners died or lost their leases until attempts were used up
    │   ├── TaskCancelled       CancelTasks ended it
    │   ├── DeadlinePassed      it was not started in time
    │   └── EnvelopeDamaged     what the log delivered is not what was accepted
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


class TaskNotFound(ForebayError):
    """There is no such task for this caller."""

    reason = "TASK_NOT_FOUND"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"task {task_id} does not exist, or its record has expired")


class KeyConflict(ForebayError):
    """The idempotency key was used before with another body."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"the idempotency key belongs to task {task_id}, which was submitted with another body"
        )


class OutputGone(ForebayError):
    """The wanted part of a token stream is no longer kept."""

    reason = "OUTPUT_GONE"

    def __init__(self, wanted: int, first_kept: int) -> None:
        self.wanted = wanted
        self.first_kept = first_kept
        super().__init__(
            f"output after sequence {wanted} is no longer kept; the first that is has {first_kept}"
        )


class Overloaded(ForebayError):
    """A limit is reached; the same request can succeed later."""

    reason = "OVERLOADED"

    def __init__(self, what: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what)


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


class ShuttingDown(ServerUnavailable):
    """The process takes no more work."""

    reason = "SHUTTING_DOWN"


class TaskFailure(ForebayError):
    """Why a task ended without a result."""

    reason = "TASK_FAILED"


class ModelFailed(TaskFailure):
    """The model raised an error on this input."""

    reason = "MODEL_FAILED"


class RunnerLost(TaskFailure):
    """Runners died or lost their leases until the attempts were used up."""

    reason = "RUNNER_LOST"


class TaskCancelled(TaskFailure):
    """CancelTasks ended it."""

    reason = "TASK_CANCELLED"


class DeadlinePassed(TaskFailure):
    """The task was not started before its deadline."""

    reason = "DEADLINE_PASSED"


class EnvelopeDamaged(TaskFailure):
    """What the log delivered is not what was accepted."""

    reason = "ENVELOPE_DAMAGED"


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
