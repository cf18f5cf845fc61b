"""Spans, as the services write them. Off until `configure` is given an endpoint, and then nearly free.

While it is off, every function here is one comparison and returns a constant, and nothing of OpenTelemetry is
even imported. What happens when it is on lives in `observability/recording.py`.

    flush = configure(names.SERVICE_SCHEDULER, settings.otlp_endpoint)
    with span(names.records_span("lease"), attributes={names.DB_OPERATION_BATCH_SIZE: 40}) as lease:
        ...
        lease.set(names.ERROR_TYPE, "RECORDS_UNAVAILABLE")
    flush()
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Final

from observability import propagation
from observability.spans import Attributes, Kind, Span, Value

if TYPE_CHECKING:
    from observability.recording import Recorder

__all__ = [
    "Attributes",
    "Kind",
    "Span",
    "Value",
    "configure",
    "current",
    "emit",
    "enabled",
    "incoming",
    "outgoing",
    "span",
]


class _Off:
    """Stands for every span while tracing is off."""

    traceparent: Final = ""

    def set(self, key: str, value: Value) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_OFF: Final = _Off()
_recorder: "Recorder | None" = None


def configure(service: str, endpoint: str | None, *, sample_ratio: float = 1.0) -> Callable[[], None]:
    """Turn tracing on for this process if there is an endpoint: `http://host:4317`, `https://…`, host:port.

    `sample_ratio` (0 to 1) is the share of new traces that are recorded; a caller's decision is always kept.
    Returns what ends tracing: it sends what is waiting, for two seconds at most, and blocks for that long.
    A collector that is away costs one line in the log and nothing else.
    """
    global _recorder
    if not endpoint:
        return _nothing
    # Loaded here, because it takes a third of a second and most processes never need it.
    from observability.recording import Recorder

    recorder = Recorder(service, endpoint, sample_ratio)
    _recorder = recorder

    def end() -> None:
        global _recorder
        if _recorder is recorder:
            _recorder = None
        recorder.close()

    return end


def enabled() -> bool:
    """Whether spans go anywhere: ask before doing work that only a span needs."""
    return _recorder is not None


def span(
    name: str,
    *,
    kind: Kind = Kind.INTERNAL,
    parent: str = "",
    links: Sequence[str] = (),
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span]:
    """Record what happens inside the `with` block, as the current span of this coroutine or thread.

    `parent` is a traceparent; empty means the current span, or the start of a new trace when there is none.
    `links` are traceparents. An exception that leaves the block marks the span with its type, never its text.
    """
    if _recorder is None:
        return _OFF
    return _recorder.span(name, kind, parent, links, attributes)


def emit(
    name: str,
    *,
    kind: Kind = Kind.INTERNAL,
    parent: str,
    start_ns: int,
    end_ns: int,
    attributes: Attributes | None = None,
    links: Sequence[str] = (),
    failed: str = "",
) -> str:
    """Record a span that is over already, times in nanoseconds since the Unix epoch; return its traceparent.

    Without a parent and without links there is nobody to tell: nothing is recorded and the result is empty.
    So a task whose submit was not traced costs nothing. With links alone it starts a trace.
    """
    if _recorder is None or not (parent or links):
        return ""
    return _recorder.emit(name, kind, parent, start_ns, end_ns, attributes, links, failed)


def current() -> str:
    """Return the traceparent of the current span; empty when there is none."""
    return "" if _recorder is None else _recorder.current()


def incoming(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the traceparent in the metadata of an incoming gRPC call, for `span(parent=…)`."""
    return "" if _recorder is None else propagation.from_metadata(metadata)


def outgoing(traceparent: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that hands a traceparent to the other side of a gRPC call."""
    return propagation.to_metadata(traceparent)


def _nothing() -> None:
    """End what never began."""
