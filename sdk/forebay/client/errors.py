"""What a call can raise, as one tree.

ForebayClientError
├── InvalidArgument         the request can never succeed as it is; `faults` names the fields
├── NotFound                there is no such thing for this caller
├── AlreadyExists           the idempotency key or the name belongs to something else
├── Conflict                it changed while it was being changed; try again
├── FailedPrecondition      the server's state does not allow it
├── OutOfRange              the wanted part of a stream is no longer kept
├── PermissionDenied        the caller may not do this
├── Unauthenticated         the server does not know the caller
├── ResourceExhausted       a limit is reached; `retry_after_s` says when to try again, `violations` which limit
├── Unavailable             the server cannot be reached, or something that it needs cannot
├── DeadlineExceeded        no answer in time; the outcome is unknown (a TimeoutError, too)
├── CallCancelled           the server or the channel ended the call
├── InternalError           the server failed, or broke its own rules
├── SubmitManyError         some tasks of a submit_many were not accepted; `results` has each one's fate
└── TaskFailedError         the task ended without a result
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

if TYPE_CHECKING:
    from forebay.client.tasks import TaskHandle, TaskState

_DETAILS_KEY: Final = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field of a request."""

    field: str
    """Path, for example `tasks[3].generate.top_p`."""
    fault: str
    """What was expected and what was got."""


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """A limit that is reached."""

    subject: str
    """Whose limit it is, for example `tenant acme, level low`."""
    description: str
    """What it allows."""


class ForebayClientError(Exception):
    """Root of the tree."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        faults: Sequence[FieldFault] = (),
        retry_after_s: float | None = None,
        metadata: dict[str, str] | None = None,
        violations: Sequence[QuotaViolation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        """Stable UPPER_SNAKE word, for example IDEMPOTENCY_KEY_REUSED; empty when the server gave none."""
        self.faults = tuple(faults)
        """Every field that is wrong."""
        self.retry_after_s = retry_after_s
        """When the server says that another try makes sense; None when it does not say."""
        self.metadata = dict(metadata or {})
        """Facts that belong to the reason, for example the id of the task that holds a key."""
        self.violations = tuple(violations)
        """Limits of the policy that are reached; empty for what has nothing to do with them."""


class InvalidArgument(ForebayClientError):
    """The request can never succeed as it is."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(ForebayClientError):
    """There is no such thing for this caller."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(ForebayClientError):
    """The idempotency key or the name belongs to something else."""

    code = grpc.StatusCode.ALREADY_EXISTS


class Conflict(ForebayClientError):
    """It changed while it was being changed, or was lost on the way; the same request can succeed now."""

    code = grpc.StatusCode.ABORTED


class FailedPrecondition(ForebayClientError):
    """The server's state does not allow it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class OutOfRange(ForebayClientError):
    """The wanted part of a stream is no longer kept."""

    code = grpc.StatusCode.OUT_OF_RANGE


class PermissionDenied(ForebayClientError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(ForebayClientError):
    """The server does not know the caller."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhausted(ForebayClientError):
    """A limit is reached; the same request can succeed later."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(ForebayClientError):
    """The server cannot be reached, or something that it needs cannot."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(ForebayClientError, TimeoutError):
    """No answer came in time."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CallCancelled(ForebayClientError):
    """The server or the channel ended the call."""

    code = grpc.StatusCode.CANCELLED


class InternalError(ForebayClientError):
    """The server failed, or broke its own rules."""

    code = grpc.StatusCode.INTERNAL


class SubmitManyError(ForebayClientError):
    """Some tasks were not accepted."""

    def __init__(self, results: "Sequence[TaskHandle | ForebayClientError]") -> None:
        self.results = tuple(results)
        """For each task, in order: its handle, or why it was not accepted."""
        errors = [result for result in results if isinstance(result, ForebayClientError)]
        super().__init__(
            f"{len(errors)} of {len(results)} tasks were not accepted; the first: {errors[0].message}",
            reason=errors[0].reason,
        )


class TaskFailedError(ForebayClientError):
    """The task ended as FAILED, CANCELLED or EXPIRED."""

    def __init__(self, task_id: str, state: "TaskState", cause: ForebayClientError | None) -> None:
        self.task_id = task_id
        self.state = state
        self.cause = cause
        """The task's error, with its reason."""
        why = f": {cause.message}" if cause is not None and cause.message else ""
        super().__init__(
            f"task {task_id} is {state.value}{why}",
            reason=cause.reason if cause is not None else "",
            metadata=cause.metadata if cause is not None else None,
        )


_BY_CODE: Final[dict[grpc.StatusCode, type[ForebayClientError]]] = {
    kind.code: kind
    for kind in (
        *(
            InvalidArgument,
            NotFound,
            AlreadyExists,
            Conflict,
            FailedPrecondition,
            OutOfRange,
            PermissionDenied,
        ),
        *(Unauthenticated, ResourceExhausted, Unavailable, DeadlineExceeded, CallCancelled),
    )
}
_BY_NUMBER: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


def from_status(status: Status) -> ForebayClientError:
    """Turn a google.rpc.Status into the exception for its code."""
    reason = ""
    metadata: dict[str, str] = {}
    faults: list[FieldFault] = []
    violations: list[QuotaViolation] = []
    retry_after_s: float | None = None
    info, bad, retry, quota = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.QuotaFailure(),
    )
    for detail in status.details:
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            faults += [FieldFault(fault.field, fault.description) for fault in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif detail.Unpack(quota):
            violations += [QuotaViolation(limit.subject, limit.description) for limit in quota.violations]
    kind = _BY_CODE.get(_BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN), InternalError)
    return kind(
        status.message,
        reason=reason,
        faults=faults,
        retry_after_s=retry_after_s,
        metadata=metadata,
        violations=violations,
    )


def from_rpc(error: grpc.RpcError, address: str) -> ForebayClientError:
    """Turn what gRPC raised into the exception for its code, with the details of google.rpc when it has them."""
    code: grpc.StatusCode = error.code()
    trailing = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailing:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return from_status(Status.FromString(value))
    message = error.details() or code.name
    if code is grpc.StatusCode.UNAVAILABLE:
        message = f"{address} does not answer: {message}"
    return from_status(Status(code=code.value[0], message=message))


def to_status(error: ForebayClientError) -> Status:
    """Turn an exception back into the status of one task, with what a client needs to know what to do about it."""
    status = Status(code=error.code.value[0], message=error.message)
    if error.reason:
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason=error.reason, domain="forebay", metadata=error.metadata)
        )
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        violation = error_details_pb2.QuotaFailure.Violation
        limits = [violation(subject=one.subject, description=one.description) for one in error.violations]
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=limits))
    return status
