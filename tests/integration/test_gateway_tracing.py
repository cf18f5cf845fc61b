"""The gateway's part of a task's trace: the call, the record, the message."""

from forebay.tasks.v1 import envelope_pb2, task_service_pb2
from observability import names, tracing
from scheduler.lanes import Lane
from scheduler.states import Level
from tests.fixtures.collector import Collector
from tests.integration.gateway import prompt, published, running, tensor

CALL = "forebay.tasks.v1.TaskService/SubmitTasks"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_submit_call_is_one_trace_down_to_the_log(collector: Collector) -> None:
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    try:
        async with running() as system:
            request = task_service_pb2.SubmitTasksRequest(tasks=[prompt(), tensor(), tensor(priority=1)])
            await system.tasks.SubmitTasks(request, timeout=5, metadata=(("traceparent", CALLER),))
            envelopes = [publication.envelope for publication in published(system.log)]
            messages = [
                message
                for index in range(8)
                for message in system.log.partition(Lane("default", Level.NORMAL, index)).waiting
            ]
    finally:
        end()
    spans = {span.name: span for span in collector.spans()}
    server, create = spans[CALL], spans["EVALSHA create"]
    normal, critical = spans["send tasks.default.normal"], spans["send tasks.default.critical"]
    assert (server.kind, server.parent_id) == ("server", CALLER.split("-")[2])
    assert (create.kind, create.parent_id) == ("client", server.span_id)
    assert create.attributes[names.DB_SYSTEM_NAME] == "redis"
    for send in (normal, critical):
        assert (send.kind, send.parent_id) == ("producer", server.span_id)
        assert send.trace_id == CALLER.split("-")[1]
    assert normal.attributes[names.MESSAGING_BATCH_MESSAGE_COUNT] == 2
    carried = {envelope.priority: envelope.traceparent.split("-")[2] for envelope in envelopes}
    assert carried == {1: critical.span_id, 3: normal.span_id}
    (message,) = messages
    assert message.properties["traceparent"].split("-")[2] == normal.span_id
    assert len(envelope_pb2.Bundle.FromString(message.payload).publications) == 2


async def test_without_an_endpoint_nothing_is_traced() -> None:
    async with running() as system:
        await system.submit(prompt())
        (publication,) = published(system.log)
        assert publication.envelope.traceparent == ""


async def test_prompts_are_in_no_span(collector: Collector) -> None:
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    try:
        async with running() as system:
            bad = prompt("canary-canary")
            bad.generate.top_p = 7
            request = task_service_pb2.SubmitTasksRequest(tasks=[prompt("canary-canary"), bad])
            await system.tasks.SubmitTasks(request, timeout=5)
    finally:
        end()
    assert collector.spans()
    assert not any(b"canary" in span.raw for span in collector.spans())
