"""What tracing does when it is on: spans through the OpenTelemetry SDK to an OTLP collector over gRPC.

Only `observability/tracing.py` imports this, and only when there is an endpoint. Spans wait in a bounded
queue that a thread empties; when it is full they are dropped, never waited for.
"""

import logging
import threading
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.util.types import Attributes as OtelAttributes

from observability import names
from observability.propagation import TraceContext, parse, render
from observability.spans import Attributes, Kind, Span, Value

_log = logging.getLogger(__name__)

QUEUE_SPANS: Final = 16_384
BATCH_SPANS: Final = 1_024
DELAY_MS: Final = 500
EXPORT_TIMEOUT_S: Final = 5.0
FLUSH_S: Final = 2.0

_KINDS: Final = {kind: trace.SpanKind(kind.value) for kind in Kind}
_NOWHERE: Final = context.Context()


class Recorder:
    """Makes spans and owns their way out. `close` ends it; spans made later are dropped."""

    def __init__(self, service: str, endpoint: str, sample_ratio: float) -> None:
        resource = Resource.create({names.SERVICE_NAME: service, names.SERVICE_INSTANCE_ID: uuid.uuid4().hex})
        self._provider = TracerProvider(
            resource=resource,
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            shutdown_on_exit=False,
        )
        self._exporter = _QuietExporter(endpoint)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=QUEUE_SPANS,
                schedule_delay_millis=DELAY_MS,
                max_export_batch_size=BATCH_SPANS,
            )
        )
        self._tracer = self._provider.get_tracer("forebay")
        _share(self._provider)

    def span(
        self, name: str, kind: Kind, parent: str, links: Sequence[str], attributes: Attributes | None
    ) -> "RecordedSpan":
        """Return a span that starts with its `with` block."""
        return RecordedSpan(self._tracer, name, kind, parent, links, attributes)

    def emit(
        self,
        name: str,
        kind: Kind,
        parent: str,
        start_ns: int,
        end_ns: int,
        attributes: Attributes | None,
        links: Sequence[str],
        failed: str,
    ) -> str:
        """Record a span that is over already."""
        span = self._tracer.start_span(
            name,
            context=_context_of(parent) if parent else _NOWHERE,
            kind=_KINDS[kind],
            attributes=_copy(attributes),
            links=_links(links),
            start_time=start_ns,
        )
        if failed:
            _fail(span, failed)
        span.end(end_time=end_ns)
        return _traceparent(span)

    def current(self) -> str:
        """Return the traceparent of the current span."""
        return _traceparent(trace.get_current_span())

    def close(self) -> None:
        """Send what waits, for FLUSH_S at most; then give the rest up. Nobody joins our traces any more."""
        _unshare(self._provider)
        # The SDK's own shutdown takes no deadline, so it gets a thread and we keep the clock.
        flushing = threading.Thread(target=self._provider.shutdown, name="span-flush", daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)
        self._exporter.give_up()
        flushing.join(FLUSH_S)


class RecordedSpan:
    """A span that is the current one of its coroutine or thread inside its `with` block."""

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: Kind,
        parent: str,
        links: Sequence[str],
        attributes: Attributes | None,
    ) -> None:
        self._span = tracer.start_span(
            name,
            context=_context_of(parent) if parent else None,
            kind=_KINDS[kind],
            attributes=_copy(attributes),
            links=_links(links),
        )
        self._failed = False

    @property
    def traceparent(self) -> str:
        """W3C traceparent; empty when the span is not recorded."""
        return _traceparent(self._span)

    def set(self, key: str, value: Value) -> None:
        """Set an attribute."""
        self._span.set_attribute(key, value)

    def fail(self, reason: str) -> None:
        """Mark it as failed."""
        self._failed = True
        _fail(self._span, reason)

    def __enter__(self) -> Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context.detach(self._token)
        if error is not None and not self._failed:
            # The text of an exception may quote a prompt; its stable reason or its type cannot.
            _fail(self._span, str(getattr(error, "reason", "") or type(error).__name__))
        self._span.end()


class _QuietExporter(SpanExporter):
    """Exports over OTLP/gRPC and says once when the collector goes, once when it is back."""

    def __init__(self, endpoint: str) -> None:
        # Its own logger repeats itself for every attempt and every batch.
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL + 1)
        self._endpoint = endpoint
        self._otlp = OTLPSpanExporter(
            endpoint=endpoint, insecure=urlsplit(endpoint).scheme != "https", timeout=EXPORT_TIMEOUT_S
        )
        self._away = False
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; what the collector does not take in time is dropped."""
        if self._closed:
            return SpanExportResult.FAILURE
        result = self._otlp.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away != self._away:
            self._away = away
            event = "trace collector away" if away else "trace collector back"
            _log.log(logging.WARNING if away else logging.INFO, event, extra={"endpoint": self._endpoint})
        return result

    def give_up(self) -> None:
        """Let go of the collector; a send in progress ends at once. Idempotent."""
        if not self._closed:
            self._closed = True
            self._otlp.shutdown()

    def shutdown(self) -> None:
        """Let go of the collector, because everything is sent."""
        self.give_up()


class _SharedProvider(trace.TracerProvider):
    """The process-wide provider of the OpenTelemetry API, which can be set only once: hands on to the latest.

    Libraries that trace through the API alone, as our own client does, join our traces this way.
    """

    latest: trace.TracerProvider

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: OtelAttributes | None = None,
    ) -> trace.Tracer:
        """Return a tracer of the latest recorder."""
        return self.latest.get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )


def _share(provider: trace.TracerProvider) -> None:
    shared = trace.get_tracer_provider()
    if isinstance(shared, trace.ProxyTracerProvider):
        shared = _SharedProvider()
        shared.latest = provider
        trace.set_tracer_provider(shared)
    elif isinstance(shared, _SharedProvider):
        shared.latest = provider


def _unshare(provider: trace.TracerProvider) -> None:
    shared = trace.get_tracer_provider()
    if isinstance(shared, _SharedProvider) and shared.latest is provider:
        shared.latest = trace.NoOpTracerProvider()


def _span_context(parsed: TraceContext) -> trace.SpanContext:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parsed.sampled else trace.TraceFlags.DEFAULT)
    return trace.SpanContext(parsed.trace_id, parsed.span_id, is_remote=True, trace_flags=flags)


def _context_of(traceparent: str) -> context.Context:
    parsed = parse(traceparent)
    if parsed is None:
        return _NOWHERE
    return trace.set_span_in_context(trace.NonRecordingSpan(_span_context(parsed)), _NOWHERE)


def _links(traceparents: Sequence[str]) -> list[trace.Link]:
    return [trace.Link(_span_context(parsed)) for text in traceparents if (parsed := parse(text))]


def _traceparent(span: trace.Span) -> str:
    known = span.get_span_context()
    if not (known.is_valid and known.trace_flags.sampled):
        return ""
    return render(TraceContext(known.trace_id, known.span_id, True))


def _fail(span: trace.Span, reason: str) -> None:
    span.set_attribute(names.ERROR_TYPE, reason)
    span.set_status(trace.Status(trace.StatusCode.ERROR, reason))


def _copy(attributes: Attributes | None) -> dict[str, Value] | None:
    return dict(attributes) if attributes else None
