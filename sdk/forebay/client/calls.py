"""One call with all that belongs to it: deadline, span, trace context, retries."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from opentelemetry import propagate, trace

from forebay.client.errors import ForebayClientError
from forebay.client.methods import Method, Q, R
from forebay.client.retry import RetryPolicy
from forebay.client.transport import Metadata, Transport

_SHORTEST_S: Final = 0.001


class Calls:
    """Makes calls over a transport."""

    def __init__(
        self,
        transport: Transport,
        retry: RetryPolicy,
        tracer_provider: trace.TracerProvider | None,
        metadata: Metadata = (),
    ) -> None:
        """`metadata` goes with every call."""
        self._metadata = tuple(metadata)
        self.transport = transport
        self.retry = retry
        self._tracer = trace.get_tracer("forebay.client", tracer_provider=tracer_provider)

    async def unary(self, method: Method[Q, R], request: Q, timeout_s: float, *, safe: bool = True) -> R:
        """Make a call within `timeout_s`, all tries and pauses included; `safe` allows a second try."""
        deadline = time.monotonic() + timeout_s
        tried = 0
        with self._span(method) as metadata:
            while True:
                left = max(deadline - time.monotonic(), _SHORTEST_S)
                try:
                    return await self.transport.unary(method, request, left, metadata)
                except ForebayClientError as error:
                    tried += 1
                    pause = self.retry.pause_s(tried, error) if safe else None
                    if pause is None or time.monotonic() + pause >= deadline:
                        raise
                await self.transport.sleep(pause)

    async def stream(self, method: Method[Q, R], request: Q, timeout_s: float) -> AsyncGenerator[R, None]:
        """Make a call that answers with many messages, once. How to go on after an error is the caller's business."""
        with self._span(method) as metadata:
            async with aclosing(self.transport.stream(method, request, timeout_s, metadata)) as answers:
                async for answer in answers:
                    yield answer

    @contextmanager
    def _span(self, method: Method[Q, R]) -> Iterator[Metadata]:
        # Not made the current span: a generator may be resumed in another context than it began in.
        span = self._tracer.start_span(
            method.name,
            kind=trace.SpanKind.CLIENT,
            attributes={"rpc.system.name": "grpc", "rpc.method": method.name},
        )
        carrier: dict[str, str] = {}
        if span.get_span_context().is_valid:
            propagate.inject(carrier, trace.set_span_in_context(span))
        try:
            yield (*self._metadata, *carrier.items())
        except ForebayClientError as error:
            if span.is_recording():
                span.set_attribute("rpc.response.status_code", error.code.name)
                span.set_attribute("error.type", error.reason or error.code.name)
                span.set_status(trace.Status(trace.StatusCode.ERROR))
            raise
        finally:
            span.end()
