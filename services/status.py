"""One table: each error of the tree -> gRPC code, HTTP code, google.rpc details.

Every status carries ErrorInfo with domain "forebay" and the error's stable reason; the other details where they fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from scheduler import errors
from scheduler.errors import ForebayError
from services.relayed import Relayed

DOMAIN: Final = "forebay"
TASK_RESOURCE: Final = "forebay.tasks.v1.Task"
SCHEDULE_RESOURCE: Final = "forebay.tasks.v1.Schedule"

HTTP_OF_CODE: Final[Mapping[int, int]] = {
    code_pb2.OK: 200,
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 412,
    code_pb2.ABORTED: 500,
    code_pb2.OUT_OF_RANGE: 410,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
    code_pb2.UNAUTHENTICATED: 401,
}

# The details read attributes of the leaf that the row is for.
_Details = Callable[[Any], Message]


@dataclass(frozen=True, slots=True)
class Row:
    """How one error of the tree travels."""

    code: int
    """Number of a google.rpc.Code."""
    details: tuple[_Details, ...] = ()
    """Makers of the details beside ErrorInfo."""
    metadata: Callable[[Any], Mapping[str, str]] | None = None
    """Maker of ErrorInfo.metadata."""


def _bad_request(error: errors.InvalidInput) -> Message:
    violation = error_details_pb2.BadRequest.FieldViolation
    faults = [violation(field=f.field, description=f.fault, reason=error.reason) for f in error.faults]
    detail: Message = error_details_pb2.BadRequest(field_violations=faults)
    return detail


def _retry_info(error: errors.Overloaded | errors.ServerUnavailable) -> Message:
    delay = Duration()
    delay.FromNanoseconds(int(error.retry_after_s * 1e9))
    detail: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return detail


def _quota_failure(error: errors.QuotaExceeded) -> Message:
    violation = error_details_pb2.QuotaFailure.Violation
    violations = [violation(subject=v.subject, description=v.description) for v in error.violations]
    detail: Message = error_details_pb2.QuotaFailure(violations=violations)
    return detail


def _task_resource(error: errors.TaskNotFound | errors.KeyConflict) -> Message:
    detail: Message = error_details_pb2.ResourceInfo(
        resource_type=TASK_RESOURCE, resource_name=error.task_id, description=str(error)
    )
    return detail


def _missing(error: errors.NotFound) -> Message:
    detail: Message = error_details_pb2.ResourceInfo(
        resource_type=error.kind, resource_name=error.name, description=str(error)
    )
    return detail


def _schedule_resource(error: errors.ScheduleExists) -> Message:
    detail: Message = error_details_pb2.ResourceInfo(
        resource_type=SCHEDULE_RESOURCE, resource_name=error.name, description=str(error)
    )
    return detail


def _precondition(subject: str) -> _Details:
    def make(error: ForebayError) -> Message:
        violation = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason, subject=subject, description=str(error)
        )
        detail: Message = error_details_pb2.PreconditionFailure(violations=[violation])
        return detail

    return make


_UNAVAILABLE: Final = Row(code_pb2.UNAVAILABLE, (_retry_info,))

TABLE: Final[Mapping[type[ForebayError], Row]] = {
    ForebayError: Row(code_pb2.INTERNAL),
    errors.InvalidInput: Row(code_pb2.INVALID_ARGUMENT, (_bad_request,)),
    errors.NotFound: Row(code_pb2.NOT_FOUND, (_missing,)),
    errors.TaskNotFound: Row(code_pb2.NOT_FOUND, (_task_resource,)),
    errors.ModelNotFound: Row(code_pb2.NOT_FOUND, (_missing,)),
    errors.AnswerNotCached: Row(code_pb2.NOT_FOUND, (_missing,)),
    errors.DeadLetterNotFound: Row(code_pb2.NOT_FOUND, (_missing,)),
    errors.ScheduleNotFound: Row(code_pb2.NOT_FOUND, (_missing,)),
    errors.PauseNotFound: Row(code_pb2.NOT_FOUND, (_missing,)),
    errors.KeyConflict: Row(
        code_pb2.ALREADY_EXISTS,
        (_task_resource,),
        metadata=lambda e: {"differing": ", ".join(e.differing)} if e.differing else {},
    ),
    errors.ScheduleExists: Row(code_pb2.ALREADY_EXISTS, (_schedule_resource,)),
    errors.TaskNotWaiting: Row(code_pb2.FAILED_PRECONDITION, (_precondition("task"),)),
    errors.NotReplayable: Row(code_pb2.FAILED_PRECONDITION, (_precondition("dead letter"),)),
    errors.TaskMoved: Row(code_pb2.ABORTED),
    errors.PolicyMoved: Row(code_pb2.ABORTED, metadata=lambda e: {"version": str(e.standing)}),
    errors.OutputGone: Row(
        code_pb2.OUT_OF_RANGE, metadata=lambda e: {"wanted": str(e.wanted), "first_kept": str(e.first_kept)}
    ),
    errors.CacheOff: Row(code_pb2.FAILED_PRECONDITION, (_precondition("result cache"),)),
    errors.SequenceUnknown: Row(code_pb2.FAILED_PRECONDITION, (_precondition("sequence"),)),
    errors.Overloaded: Row(code_pb2.RESOURCE_EXHAUSTED, (_retry_info,)),
    errors.QuotaExceeded: Row(code_pb2.RESOURCE_EXHAUSTED, (_retry_info, _quota_failure)),
    errors.Unauthenticated: Row(code_pb2.UNAUTHENTICATED),
    errors.OperatorOnly: Row(code_pb2.PERMISSION_DENIED),
    errors.Unsupported: Row(code_pb2.UNIMPLEMENTED),
    errors.ServerUnavailable: _UNAVAILABLE,
    errors.LogUnavailable: _UNAVAILABLE,
    errors.RecordsUnavailable: _UNAVAILABLE,
    errors.PurgeNotShared: _UNAVAILABLE,
    errors.ModelNotReady: _UNAVAILABLE,
    errors.RunnerGone: _UNAVAILABLE,
    errors.ShuttingDown: _UNAVAILABLE,
    errors.TaskFailure: Row(code_pb2.UNKNOWN),
    errors.ModelFailed: Row(code_pb2.UNKNOWN),
    errors.ModelOutOfMemory: Row(code_pb2.RESOURCE_EXHAUSTED),
    errors.RunnerLost: Row(code_pb2.ABORTED),
    errors.RunnerCrashed: Row(code_pb2.ABORTED),
    errors.RunnerOutOfMemory: Row(code_pb2.RESOURCE_EXHAUSTED),
    errors.TaskCancelled: Row(code_pb2.CANCELLED),
    errors.DeadlinePassed: Row(code_pb2.DEADLINE_EXCEEDED),
    errors.ParentFailed: Row(code_pb2.FAILED_PRECONDITION, (_precondition("parent"),)),
    errors.ParentOutputUnusable: Row(code_pb2.FAILED_PRECONDITION, (_precondition("parent"),)),
    errors.EnvelopeDamaged: Row(code_pb2.DATA_LOSS),
    errors.MessageUnreadable: Row(code_pb2.DATA_LOSS),
    errors.ModelUnusable: Row(code_pb2.FAILED_PRECONDITION, (_precondition("model"),)),
    errors.RuntimeMissing: Row(code_pb2.FAILED_PRECONDITION, (_precondition("onnxruntime"),)),
    errors.ImportRefused: Row(code_pb2.FAILED_PRECONDITION, (_precondition("file"),)),
    errors.StartupRefused: Row(code_pb2.FAILED_PRECONDITION, (_precondition("process"),)),
}


def row_of(error: ForebayError) -> Row:
    """Return the row of an error: its own, or that of its nearest ancestor."""
    return next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)


def grpc_code(error: ForebayError) -> int:
    """Return the number of the google.rpc.Code of an error."""
    if isinstance(error, Relayed):
        code: int = error.status.code
        return code
    return row_of(error).code


def http_code(error: ForebayError) -> int:
    """Return the HTTP status of an error."""
    return HTTP_OF_CODE[grpc_code(error)]


def to_status(error: ForebayError) -> status_pb2.Status:
    """Return an error as it travels, with all its details."""
    if isinstance(error, Relayed):
        return error.status
    row = row_of(error)
    metadata = row.metadata(error) if row.metadata else {}
    return _status(row.code, str(error), error.reason, metadata, *(make(error) for make in row.details))


def deadline_exceeded(limit_s: float) -> status_pb2.Status:
    """Return what a call is told that brought no deadline and used up the default one."""
    return _status(
        code_pb2.DEADLINE_EXCEEDED,
        f"the call took longer than the default of {limit_s:g} s",
        "DEADLINE_EXCEEDED",
        {},
    )


def internal(request_id: str) -> status_pb2.Status:
    """Return what a client is told of an unforeseen fault: nothing but the id under which it was logged."""
    message = f"internal error; it is in the server's log under request {request_id}"
    request = error_details_pb2.RequestInfo(request_id=request_id)
    return _status(code_pb2.INTERNAL, message, ForebayError.reason, {}, request)


def _status(
    code: int, message: str, reason: str, metadata: Mapping[str, str], *details: Message
) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    for detail in details:
        status.details.add().Pack(detail)
    return status
