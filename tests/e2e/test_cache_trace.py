"""What a trace and the pages of all processes tell of calls and tasks that were answered without a run of their own."""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from prometheus_client.parser import text_string_to_metric_families

from forebay.client import Client, TaskState
from observability import names
from tests.fixtures.collector import CollectedSpan, Collector
from tests.system import System, forebay_up
from tests.tiny_models import save_countdown

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LONG, LIMIT_S = 3_000_000, 30.0
SUBMIT, INFER = "forebay.tasks.v1.TaskService/SubmitTasks", "forebay.inference.v1.InferenceService/Infer"


@dataclass(frozen=True)
class Traced:
    """A system with a cache that exports to a collector, and a traced client of it."""

    system: System
    collector: Collector
    client: Client

    async def tree(self, *found: tuple[str, str], until: str = names.SPAN_CACHE) -> list[CollectedSpan]:
        """Return the spans of the one trace in which the cache's spans have these (service, outcome), once that of the
        name `until` is there: each process sends its own in its time.
        """

        def cached(spans: list[CollectedSpan]) -> set[tuple[str, str]]:
            return {
                (span.service, str(span.attributes[names.CACHE_OUTCOME]))
                for span in spans
                if span.name == names.SPAN_CACHE
            }

        def matching(spans: list[CollectedSpan]) -> list[CollectedSpan]:
            for trace_id in {span.trace_id for span in spans if span.name == names.SPAN_CACHE}:
                of_trace = [span for span in spans if span.trace_id == trace_id]
                if cached(of_trace) == set(found) and whole(of_trace) and until in {s.name for s in of_trace}:
                    return of_trace
            return []

        return matching(await self.collector.wait_for(lambda spans: bool(matching(spans)), LIMIT_S))


def whole(spans: list[CollectedSpan]) -> bool:
    """Tell whether the parent of every span is there, and one is the root."""
    known = {span.span_id for span in spans}
    return {span.parent_id for span in spans} <= known | {""} and "" in {span.parent_id for span in spans}


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    collector = Collector()
    provider = TracerProvider(
        resource=Resource.create({names.SERVICE_NAME: names.SERVICE_CLIENT}), shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(collector.endpoint, insecure=True)))
    variables = {"FOREBAY_CACHE_ENABLED": "true", "FOREBAY_CACHE_LEAST_TASK_WORK_MS": "0"}
    with tempfile.TemporaryDirectory(prefix="forebay-told-") as data:
        model = save_countdown(Path(data) / "count.onnx")
        arguments = ("--otlp-endpoint", collector.endpoint)
        with (
            forebay_up(
                Path(data) / "up", {"count": model}, arguments=arguments, environment=variables
            ) as system,
            Client(system.grpc, tracer_provider=provider) as client,
        ):
            yield Traced(system, collector, client)
    provider.shutdown()
    collector.close()


def turns(number: int) -> dict[str, np.ndarray]:
    return {"turns": np.array([number])}


async def pages(system: System) -> dict[tuple[str, str], float]:
    """Return what all processes together show: by name, and by the state or outcome where there is one."""
    found: dict[tuple[str, str], float] = {}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{system.http}/metrics/targets") as response:
            groups = await response.json()
        addresses = dict.fromkeys([system.http, *(each for group in groups for each in group["targets"])])
        for address in addresses:
            async with session.get(f"http://{address}/metrics") as response:
                page = await response.text()
            for family in text_string_to_metric_families(page):
                for sample in family.samples:
                    word = sample.labels.get("outcome", "") or sample.labels.get("state", "")
                    found[sample.name, word] = found.get((sample.name, word), 0.0) + sample.value
    return found


async def test_traces_of_the_leader_a_follower_and_hits_by_both_ways_and_no_task_is_lost_from_the_counts(
    traced: Traced,
) -> None:
    client = traced.client
    leader = client.submit("count", tensors=turns(LONG))
    assert any(update.state is TaskState.RUNNING for update in client.watch([leader], timeout_s=LIMIT_S))
    follower = client.submit("count", tensors=turns(LONG))
    followed = client.infer("count", turns(LONG))
    ended = client.wait_many([leader, follower], LIMIT_S)
    hit = client.submit("count", tensors=turns(LONG))
    found = client.infer("count", turns(LONG))
    assert [task.cached for task in (*ended, client.wait(hit, LIMIT_S))] == [False, True, True]
    assert followed.execution.cached and found.execution.cached

    computed = await traced.tree(
        (names.SERVICE_GATEWAY, "asked_later=1"),
        (names.SERVICE_SCHEDULER, "computed"),
        until=names.SPAN_EXECUTE,
    )
    shared = await traced.tree((names.SERVICE_GATEWAY, "asked_later=1"), (names.SERVICE_SCHEDULER, "shared"))
    at_submit = await traced.tree((names.SERVICE_GATEWAY, "hit=1"))
    call = await traced.tree((names.SERVICE_GATEWAY, "hit"))
    follows = await traced.tree((names.SERVICE_GATEWAY, "shared"))
    for spans in (computed, shared, at_submit, call, follows):
        sys.stdout.write(f"{drawn(spans)}\n\n")

    by_name = {span.name: span for span in computed}
    sent, executed = by_name["send tasks.default.normal"], by_name[names.SPAN_EXECUTE]
    [led] = of_cache(computed, names.SERVICE_SCHEDULER)
    assert led.parent_id == sent.span_id
    assert led.attributes[names.TASK_ID] == executed.attributes[names.TASK_ID] == leader.id

    [waited] = of_cache(shared, names.SERVICE_SCHEDULER)
    assert waited.attributes[names.TASK_ID] == follower.id
    # Nothing was leased or executed for it; who was is one click away.
    assert names.SPAN_EXECUTE not in {span.name for span in shared}
    assert waited.links == ((sent.trace_id, sent.span_id),)

    [looked] = of_cache(at_submit, names.SERVICE_GATEWAY)
    [server] = [span for span in at_submit if span.span_id == looked.parent_id]
    assert (server.name, server.kind) == (SUBMIT, "server")
    assert {span.service for span in at_submit} == {names.SERVICE_CLIENT, names.SERVICE_GATEWAY}
    assert looked.attributes[names.CACHE_TIER] in ("memory=1", "redis=1")
    [unsent] = [span for span in at_submit if span.name == sent.name]
    assert unsent.attributes[names.MESSAGING_BATCH_MESSAGE_COUNT] == 0

    [of_call] = of_cache(call, names.SERVICE_GATEWAY)
    [server] = [span for span in call if span.span_id == of_call.parent_id]
    assert (server.name, server.kind) == (INFER, "server")
    assert of_call.attributes[names.CACHE_TIER] in ("memory", "redis")
    [of_follower] = of_cache(follows, names.SERVICE_GATEWAY)
    assert of_follower.links == ((sent.trace_id, sent.span_id),)

    shown = await pages(traced.system)
    assert shown[names.TASKS_SUBMITTED, ""] == shown[names.TASKS_FINISHED, "succeeded"] == 3
    outcomes = {word: shown.get((names.CACHE_CALLS, word), 0) for word in ("computed", "shared", "hit")}
    assert outcomes == {"computed": 1, "shared": 2, "hit": 2}


def of_cache(spans: list[CollectedSpan], service: str) -> list[CollectedSpan]:
    return [span for span in spans if span.name == names.SPAN_CACHE and span.service == service]


def drawn(spans: list[CollectedSpan]) -> str:
    """Draw a trace as Jaeger does, for who reads the output of a test that failed."""
    lines: list[str] = []

    def draw(parent: str, depth: int) -> None:
        for span in sorted(spans, key=lambda span: span.start_ns):
            if span.parent_id == parent:
                took_ms = (span.end_ns - span.start_ns) / 1e6
                told = {name: value for name, value in span.attributes.items() if name.startswith("forebay.")}
                links = f" -> {len(span.links)} link" if span.links else ""
                lines.append(f"{'  ' * depth}{span.service} {span.name} {took_ms:.1f} ms{links} {told}")
                draw(span.span_id, depth + 1)

    draw("", 0)
    return "\n".join(lines)
