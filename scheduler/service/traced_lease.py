"""The part of the scheduler in the trace of an attempt. Called by `assigned.py` for tasks that are traced."""

from observability import names, tracing
from scheduler.service.entry import Waiting


def traced_lease(task: Waiting, attempt: int, runner: str, leasing_ns: int, leased_ns: int) -> str:
    """Record what the scheduler did for one attempt: the wait here, and the lease inside it. Times are nanoseconds
    since the Unix epoch. Returns the traceparent under which the runner goes on.
    """
    topic = f"tasks.{task.lane.pool}.{task.lane.level.label}"
    traceparent = tracing.emit(
        names.messaging_span(names.OPERATION_PROCESS, topic),
        kind=tracing.Kind.CONSUMER,
        parent=task.envelope.traceparent,
        links=(task.envelope.traceparent,),
        start_ns=task.received_ns,
        end_ns=leased_ns,
        attributes={
            names.MESSAGING_SYSTEM: names.MESSAGING_SYSTEM_PULSAR,
            names.MESSAGING_OPERATION_NAME: names.OPERATION_PROCESS,
            names.MESSAGING_OPERATION_TYPE: names.OPERATION_PROCESS,
            names.MESSAGING_DESTINATION_NAME: topic,
            names.MESSAGING_DESTINATION_PARTITION_ID: str(task.lane.index),
            names.TASK_ID: task.id,
            names.TASK_ATTEMPT: attempt,
            names.TASK_PUBLICATION: task.publication,
            names.RUNNER_ID: runner,
        },
    )
    tracing.emit(
        names.records_span("lease"),
        kind=tracing.Kind.CLIENT,
        parent=traceparent,
        start_ns=leasing_ns,
        end_ns=leased_ns,
        attributes={names.DB_SYSTEM_NAME: names.DB_SYSTEM_REDIS, names.DB_STORED_PROCEDURE_NAME: "lease"},
    )
    return traceparent
