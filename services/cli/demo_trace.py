"""The demo's own trace collector: takes spans by OTLP like Jaeger would, and draws the trace of one task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from observability import names

MAX_SPANS: Final = 20_000
SERVICES: Final = frozenset(
    {names.SERVICE_CLIENT, names.SERVICE_GATEWAY, names.SERVICE_SCHEDULER, names.SERVICE_RUNNER}
)


@dataclass(frozen=True, slots=True)
class SeenSpan:
    """What the picture needs of a span; times in nanoseconds since the Unix epoch."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int


class TraceTap(TraceServiceServicer):
    """Keeps the spans that arrive, up to a bound."""

    def __init__(self) -> None:
        self._spans: list[SeenSpan] = []
        self._arrived = asyncio.Event()

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        """Take a batch of spans."""
        for resource in request.resource_spans:
            service = next(
                (a.value.string_value for a in resource.resource.attributes if a.key == names.SERVICE_NAME),
                "",
            )
            for scope in resource.scope_spans:
                self._spans += [
                    SeenSpan(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                    )
                    for span in scope.spans
                ]
        del self._spans[:-MAX_SPANS]
        self._arrived.set()
        return ExportTraceServiceResponse()

    async def whole(self, trace_id: str, timeout_s: float) -> list[SeenSpan]:
        """Return a trace once every service has reported a span of it; what there is when that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while {span.service for span in self._of(trace_id)} < SERVICES:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass
        return self._of(trace_id)

    def _of(self, trace_id: str) -> list[SeenSpan]:
        return [span for span in self._spans if span.trace_id == trace_id]


@asynccontextmanager
async def trace_tap() -> AsyncIterator[tuple[TraceTap, str]]:
    """Collect on a free port of loopback while the block lasts; yields the collector and its endpoint."""
    tap = TraceTap()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(tap, server)  # type: ignore[no-untyped-call]  # generated without types
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield tap, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0.5)


def draw(spans: list[SeenSpan]) -> list[str]:
    """Draw a trace as lines, children under their parents in the order in which they started."""
    known = {span.span_id for span in spans}
    children: dict[str, list[SeenSpan]] = {}
    for span in sorted(spans, key=lambda s: s.start_ns):
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    if not spans:
        return []
    begin_ns = min(span.start_ns for span in spans)
    lines = []

    def add(parent: str, depth: int) -> None:
        for span in children.get(parent, ()):
            title = "  " * depth + span.name
            service = span.service.removeprefix("forebay-")
            at_ms, took_ms = (span.start_ns - begin_ns) / 1e6, (span.end_ns - span.start_ns) / 1e6
            lines.append(f"{service:<10} {title:<58} at {at_ms:8.1f} ms  took {took_ms:8.1f} ms")
            add(span.span_id, depth + 1)

    add("", 0)
    return lines
