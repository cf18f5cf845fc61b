import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace

from observability import names, tracing
from observability.propagation import parse
from tests.fixtures.collector import Collector

REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = REMOTE[:-2] + "00"


@pytest.fixture
def flush(collector: Collector) -> Iterator[Callable[[], None]]:
    end = tracing.configure("forebay-test", collector.endpoint)
    yield end
    end()


def test_without_an_endpoint_every_span_is_one_shared_nothing() -> None:
    end = tracing.configure("forebay-test", None)
    assert not tracing.enabled()
    with tracing.span("one", parent=REMOTE) as one, tracing.span("two", links=[REMOTE]) as two:
        one.set("key", 1)
        one.fail("REASON")
        assert one is two
        assert one.traceparent == tracing.current() == tracing.incoming([("traceparent", REMOTE)]) == ""
    assert tracing.emit("three", parent=REMOTE, start_ns=1, end_ns=2) == ""
    end()


def test_an_empty_endpoint_is_none() -> None:
    tracing.configure("forebay-test", "")
    assert not tracing.enabled()


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported_and_no_thread_is_started() -> None:
    program = (
        "import sys, threading\n"
        "from observability import logs, tracing\n"
        "logs.configure('x'); tracing.configure('x', None)()\n"
        "with tracing.span('y'): pass\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "loaded = [name for name in sys.modules if name.split('.')[0] in ('opentelemetry', 'grpc', 'aiohttp')]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=15)


def test_a_span_arrives_with_its_service_kind_and_attributes(
    collector: Collector, flush: Callable[[], None]
) -> None:
    with tracing.span(
        "outer", kind=tracing.Kind.SERVER, parent=REMOTE, attributes={names.TASK_ATTEMPT: 2}
    ) as outer:
        outer.set(names.QUEUE_LEVEL, "high")
    flush()
    (span,) = collector.spans()
    assert (span.service, span.name, span.kind) == ("forebay-test", "outer", "server")
    assert f"00-{span.trace_id}-{span.parent_id}-01" == REMOTE
    assert outer.traceparent == f"00-{span.trace_id}-{span.span_id}-01"
    assert span.attributes == {names.TASK_ATTEMPT: 2, names.QUEUE_LEVEL: "high"}
    assert span.failed == ""
    assert span.start_ns <= span.end_ns


def test_a_span_without_a_parent_continues_the_current_one(
    collector: Collector, flush: Callable[[], None]
) -> None:
    with tracing.span("outer") as outer:
        assert tracing.current() == outer.traceparent
        with tracing.span("inner"):
            pass
    assert tracing.current() == ""
    flush()
    assert collector.span_edges() == {("outer", "inner")}


async def test_coroutines_do_not_see_each_others_spans(
    collector: Collector, flush: Callable[[], None]
) -> None:
    inside = asyncio.Barrier(2)

    async def work(name: str) -> None:
        with tracing.span(name):
            await inside.wait()
            with tracing.span(f"{name} child"):
                await inside.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(work("a"))
        group.create_task(work("b"))
    flush()
    assert collector.span_edges() == {("a", "a child"), ("b", "b child")}


def test_a_span_that_is_over_is_written_afterwards_and_can_be_a_parent(
    collector: Collector, flush: Callable[[], None]
) -> None:
    attempt = tracing.emit(
        "outer", parent=REMOTE, start_ns=1_000, end_ns=5_000, attributes={names.TASK_ATTEMPT: 1}
    )
    tracing.emit(names.SPAN_EXECUTE, parent=attempt, start_ns=2_000, end_ns=3_000, failed="MODEL_FAILED")
    flush()
    by_name = {span.name: span for span in collector.spans()}
    assert (by_name["outer"].start_ns, by_name["outer"].end_ns) == (1_000, 5_000)
    assert collector.span_edges() == {("outer", names.SPAN_EXECUTE)}
    assert by_name[names.SPAN_EXECUTE].failed == "MODEL_FAILED"
    assert by_name[names.SPAN_EXECUTE].attributes == {names.ERROR_TYPE: "MODEL_FAILED"}


def test_a_task_that_is_not_traced_gets_no_span_afterwards(
    collector: Collector, flush: Callable[[], None]
) -> None:
    with tracing.span("current"):
        assert tracing.emit("orphan", parent="", start_ns=1, end_ns=2) == ""
    assert tracing.emit("unsampled", parent=UNSAMPLED, start_ns=1, end_ns=2) == ""
    flush()
    assert [span.name for span in collector.spans()] == ["current"]


def test_a_batch_span_starts_its_own_trace_and_links_to_each_task(
    collector: Collector, flush: Callable[[], None]
) -> None:
    tracing.emit("batch", parent="", links=[REMOTE, "broken"], start_ns=1, end_ns=2)
    flush()
    (span,) = collector.spans()
    assert span.parent_id == ""
    assert span.links == ((REMOTE[3:35], REMOTE[36:52]),)


def test_a_caller_that_does_not_sample_is_obeyed_below(
    collector: Collector, flush: Callable[[], None]
) -> None:
    with tracing.span("outer", parent=tracing.incoming([("traceparent", UNSAMPLED)])) as outer:
        assert outer.traceparent == ""
        with tracing.span("inner") as inner:
            assert inner.traceparent == ""
    flush()
    assert collector.spans() == []


def test_sampling_ratio_zero_records_only_what_a_caller_sampled(collector: Collector) -> None:
    flush = tracing.configure("forebay-test", collector.endpoint, sample_ratio=0.0)
    with tracing.span("own"):
        pass
    with tracing.span("theirs", parent=REMOTE):
        pass
    flush()
    assert [span.name for span in collector.spans()] == ["theirs"]


def test_an_exception_marks_the_span_by_its_type_and_never_by_its_text(
    collector: Collector, flush: Callable[[], None]
) -> None:
    with pytest.raises(ValueError), tracing.span("broken"):
        raise ValueError("canary-7f3a in the text")
    flush()
    (span,) = collector.spans()
    assert span.failed == "ValueError"
    assert b"canary-7f3a" not in span.raw


def test_a_context_goes_out_and_comes_in_over_grpc_metadata(flush: Callable[[], None]) -> None:
    with tracing.span("call") as call:
        assert tracing.incoming(tracing.outgoing(call.traceparent)) == call.traceparent
        assert parse(call.traceparent) is not None


def test_libraries_that_use_the_opentelemetry_api_join_the_trace(
    collector: Collector, flush: Callable[[], None]
) -> None:
    with (
        tracing.span("ours"),
        trace.get_tracer_provider().get_tracer("a-library").start_as_current_span("theirs"),
    ):
        pass
    flush()
    assert collector.span_edges() == {("ours", "theirs")}


async def test_spans_arrive_by_themselves_while_the_process_runs(
    collector: Collector, flush: Callable[[], None]
) -> None:
    with tracing.span("one"):
        pass
    spans = await collector.wait_for(lambda spans: any(span.name == "one" for span in spans))
    assert spans == collector.spans()


def test_after_the_end_tracing_is_off_and_ending_again_is_harmless(flush: Callable[[], None]) -> None:
    assert tracing.enabled()
    flush()
    assert not tracing.enabled()
    flush()


def test_a_collector_that_is_away_costs_one_line_and_a_bounded_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with caplog.at_level(logging.INFO):
            flush = tracing.configure("forebay-test", address)
            for _ in range(3_000):
                with tracing.span("lost"):
                    pass
            started = time.monotonic()
            flush()
    assert time.monotonic() - started < 6
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in lines] == ["trace collector away"]
