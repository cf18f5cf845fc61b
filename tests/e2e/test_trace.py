"""One trace tells the whole story of a task, seen by a real OTLP/gRPC collector."""

import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from forebay.client import Client, TaskState
from observability import names
from tests.fixtures.collector import CollectedSpan, Collector
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CLIENT, GATEWAY, SCHEDULER, RUNNER = (
    names.SERVICE_CLIENT,
    names.SERVICE_GATEWAY,
    names.SERVICE_SCHEDULER,
    names.SERVICE_RUNNER,
)
CANARY = b"canary-in-a-task"
"""Sixteen bytes: what a task of model `add` takes."""
LIMIT_S = 20.0
PROCESS = "process tasks.default.high"


@dataclass(frozen=True)
class Traced:
    """A system that exports to a collector, and a traced client of it."""

    system: System
    collector: Collector
    client: Client
    provider: TracerProvider

    async def spans(self, task_id: str, *services: str) -> list[CollectedSpan]:
        """Return the spans of the trace in which a task was submitted, once these services have sent the last of it."""
        # What the client sends is the parent of all: it does not know the task's id when it begins.
        executed = await self.collector.wait_for(
            lambda spans: any(span.attributes.get(names.TASK_ID) == task_id for span in spans), LIMIT_S
        )
        trace_id = next(span.trace_id for span in executed if span.attributes.get(names.TASK_ID) == task_id)

        def of_trace(spans: list[CollectedSpan]) -> list[CollectedSpan]:
            return [span for span in spans if span.trace_id == trace_id]

        def finished(spans: list[CollectedSpan]) -> bool:
            found = of_trace(spans)
            return {span.service for span in found} >= set(services) and all(
                any(span.span_id == parent for span in found)
                for parent in {span.parent_id for span in found} - {""}
            )

        return of_trace(await self.collector.wait_for(finished, LIMIT_S))


@pytest.fixture(scope="module")
def traced(tiny_models: dict[str, Path]) -> Iterator[Traced]:
    """A system of its own: tracing on, and leases short enough to lose a runner in a test."""
    collector = Collector()
    provider = TracerProvider(resource=Resource.create({names.SERVICE_NAME: CLIENT}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(collector.endpoint, insecure=True)))
    with (
        tempfile.TemporaryDirectory(prefix="forebay-trace-") as data,
        forebay_up(
            Path(data),
            tiny_models,
            arguments=("--otlp-endpoint", collector.endpoint),
            environment={"FOREBAY_SCHEDULER_LEASE_MS": "1500", "FOREBAY_SCHEDULER_SWEEP_S": "0.2"},
        ) as system,
        Client(system.grpc, tracer_provider=provider) as client,
    ):
        yield Traced(system, collector, client, provider)
    provider.shutdown()
    collector.close()


def edges(spans: list[CollectedSpan]) -> set[tuple[str, str]]:
    """Return (parent's service, child's service) of every span with a parent."""
    known = {span.span_id: span for span in spans}
    return {(known[span.parent_id].service, span.service) for span in spans if span.parent_id in known}


async def test_one_trace_leads_from_the_client_to_the_runner_and_to_redis(traced: Traced) -> None:
    task = traced.client.submit("add", tensors={"x": np.ones((1, 4), np.float32)}, priority="high")
    assert traced.client.wait(task, LIMIT_S, include_result=False).state is TaskState.SUCCEEDED
    spans = await traced.spans(task.id, CLIENT, GATEWAY, SCHEDULER, RUNNER)

    assert edges(spans) >= {(CLIENT, GATEWAY), (GATEWAY, SCHEDULER), (SCHEDULER, RUNNER)}
    by_name = {span.name: span for span in spans}
    story = [
        ("forebay.tasks.v1.TaskService/SubmitTasks", GATEWAY, "server"),
        ("send tasks.default.high", GATEWAY, "producer"),
        (PROCESS, SCHEDULER, "consumer"),
        (names.SPAN_EXECUTE, RUNNER, "internal"),
    ]
    for (above, _, _), (name, service, kind) in pairwise(story):
        assert (by_name[name].service, by_name[name].kind) == (service, kind)
        assert by_name[name].parent_id == by_name[above].span_id, f"{name} is no child of {above}"
    assert sum(span.parent_id == "" for span in spans) == 1, "one trace has one root"

    redis = {
        (span.service, span.name)
        for span in spans
        if span.kind == "client" and span.attributes.get(names.DB_SYSTEM_NAME) == names.DB_SYSTEM_REDIS
    }
    assert redis >= {(GATEWAY, "EVALSHA create"), (SCHEDULER, "EVALSHA lease"), (RUNNER, "EVALSHA finish")}
    for name in (PROCESS, names.SPAN_EXECUTE):
        attributes = by_name[name].attributes
        assert (attributes[names.TASK_ID], attributes[names.TASK_ATTEMPT]) == (task.id, 1)
    assert by_name[names.SPAN_EXECUTE].attributes[names.RUNNER_PROVIDER] == "CPUExecutionProvider"


async def test_a_lost_runner_makes_a_second_attempt_with_spans_of_its_own(traced: Traced) -> None:
    client = traced.client
    task = client.submit("countdown", tensors={"turns": np.array([1_000_000])}, priority="high")
    assert any(update.state is TaskState.RUNNING for update in client.watch([task], timeout_s=LIMIT_S))
    (runner,) = client.runners("countdown")
    os.kill(runner.pid, signal.SIGKILL)
    ended = client.wait(task, LIMIT_S)
    assert (ended.state, ended.attempt) == (TaskState.SUCCEEDED, 2)

    spans = await traced.spans(task.id, CLIENT, GATEWAY, SCHEDULER, RUNNER)
    attempts = {span.attributes[names.TASK_ATTEMPT]: span for span in spans if span.name == PROCESS}
    assert set(attempts) == {1, 2}
    assert attempts[1].span_id != attempts[2].span_id
    assert attempts[1].attributes[names.RUNNER_ID] != attempts[2].attributes[names.RUNNER_ID]
    (execution,) = [span for span in spans if span.name == names.SPAN_EXECUTE]
    assert execution.parent_id == attempts[2].span_id
    assert execution.attributes[names.TASK_ATTEMPT] == 2


async def test_neither_input_nor_output_is_in_any_span_or_log(traced: Traced) -> None:
    x = np.frombuffer(CANARY, np.float32).reshape(1, 4)
    good = traced.client.submit("add", tensors={"x": x}, priority="high")
    output = traced.client.wait(good, LIMIT_S).tensors["y"].tobytes()
    bad = traced.client.submit("add", prompt=CANARY.decode(), priority="high")
    failed = traced.client.wait(bad, LIMIT_S)
    assert failed.state is TaskState.FAILED
    await traced.spans(good.id, CLIENT, GATEWAY, SCHEDULER, RUNNER)
    spans = await traced.spans(bad.id, CLIENT, GATEWAY, SCHEDULER, RUNNER)
    assert [span.failed for span in spans if span.name == names.SPAN_EXECUTE] == ["INVALID_INPUT"]

    assert CANARY.decode() not in str(failed.error)
    for secret in (CANARY, output):
        assert not [span.name for span in traced.collector.spans() if secret in span.raw]
        logs = [*(traced.system.data / "logs").glob("*.log")]
        assert logs
        assert not [log.name for log in logs if secret in log.read_bytes()]


def test_without_an_endpoint_nothing_leaves_the_system(system: System, traced: Traced) -> None:
    with Client(system.grpc, tracer_provider=traced.provider) as client:
        task = client.submit("add", tensors={"x": np.ones((1, 4), np.float32)})
        assert client.wait(task, LIMIT_S).state is TaskState.SUCCEEDED
    collector_port = int(traced.collector.endpoint.rpartition(":")[2])
    # What is seen of the system that exports must be absent from the one that does not.
    assert dialled_outside(traced.system) == {collector_port}
    assert dialled_outside(system) == set()


def dialled_outside(system: System) -> set[int]:
    """Return the ports to which processes of a system are connected although none of them listens there."""
    sockets = [socket for process in system.children() for socket in process.net_connections("tcp")]
    own = {socket.laddr.port for socket in sockets if socket.status == psutil.CONN_LISTEN}
    open_ = [socket for socket in sockets if socket.status in (psutil.CONN_ESTABLISHED, psutil.CONN_SYN_SENT)]
    return {socket.raddr.port for socket in open_ if socket.laddr.port not in own} - own
