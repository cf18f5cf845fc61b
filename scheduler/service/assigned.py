"""What a runner is told of the tasks that it was given. Called by `dispatcher.py`."""

from collections.abc import Sequence

from forebay.dispatch.v1.dispatch_service_pb2 import AttachResponse
from observability import tracing
from scheduler.ports.records import LeaseReply
from scheduler.service.entry import Waiting
from scheduler.service.traced_lease import traced_lease


def assigned(
    granted: Sequence[tuple[Waiting, LeaseReply]], runner: str, leasing_ns: int, leased_ns: int
) -> AttachResponse:
    """Return the message for `runner`, and record for tasks that are traced when their lease was asked for and came, in
    nanoseconds since the Unix epoch.
    """
    message = AttachResponse()
    add = message.assignments.add
    traced = tracing.enabled()
    for task, reply in granted:
        # Field by field: the same as arguments of `add` takes twice as long.
        assignment = add()
        assignment.envelope.CopyFrom(task.envelope)
        assignment.attempt = reply.attempt
        assignment.lease_time_ms = reply.time_ms
        if task.isolation:
            assignment.isolation = task.isolation
        if traced and task.envelope.traceparent:
            assignment.traceparent = traced_lease(task, reply.attempt, runner, leasing_ns, leased_ns)
    return message
