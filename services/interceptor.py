"""Around every call of every service: errors become statuses, deadlines exist, spans and durations are recorded.

- An error of the tree is answered as the table in `services/status.py` says, details in `grpc-status-details-bin`.
- Anything else is answered INTERNAL with a request id; its type and stack are logged once under that id, its text
  goes nowhere: it may hold what a client sent.
- Bytes that are no message of the method's type are answered INVALID_ARGUMENT; gRPC alone would say UNKNOWN.
- A CancelledError that no client caused is answered UNAVAILABLE: left alone it would never be answered at all.
- A call that `authorize` refuses never reaches its handler; health and reflection are open to all.
- A call with one response and no deadline gets the default one, unless its method is one of those that see to their
  own end: those for which the default would be too short.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from observability import names, tracing
from scheduler.errors import ForebayError, InvalidInput, ShuttingDown
from services import status as table

CallObserver = Callable[[str, str, float], None]
"""Told of every finished call: full method without the leading slash, name of the status code, seconds."""

Authorize = Callable[[str, Any], None]
"""Asked before every call: full method without the leading slash, and the gRPC context. Raises an error of the tree."""

_LOG: Final = logging.getLogger(__name__)
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_OK: Final = grpc.StatusCode.OK.name
_DETAILS_KEY: Final = "grpc-status-details-bin"
_INFRASTRUCTURE: Final = ("grpc.health.", "grpc.reflection.")
_UNREADABLE: Final = object()
"""Stands for a request whose bytes are no message of its type."""


def _unobserved(method: str, code: str, seconds: float) -> None:
    """Take no notice."""


def _open_to_all(method: str, context: Any) -> None:
    """Let every call in."""


class CallInterceptor:
    """Wraps each handler once; a call costs a few microseconds more."""

    def __init__(
        self,
        *,
        default_deadline_s: float,
        end_themselves: Collection[str] = (),
        observe: CallObserver = _unobserved,
        authorize: Authorize = _open_to_all,
    ) -> None:
        """`end_themselves` are methods, full names without the leading slash, whose handlers bound what they do."""
        self._default_deadline_s = default_deadline_s
        self._end_themselves = frozenset(end_themselves)
        self._observe = observe
        self._authorize = authorize

    def wrap(self, method: str, handler: Any) -> Any:
        """Return the handler of a method, full name without the leading slash, with our wrapping."""
        inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        pumping = partial(_pump, inner)
        default_s = None if method in self._end_themselves else self._default_deadline_s

        # A coroutine, never a generator: the whole call stays in one task, and its context variables with it.
        async def stream(request: Any, context: Any) -> None:
            await self._guard(method, pumping, request, context, None)

        async def unary(request: Any, context: Any) -> Any:
            return await self._guard(method, inner, request, context, default_s)

        make: Callable[..., Any]
        if handler.response_streaming:
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        return make(
            stream if handler.response_streaming else unary,
            request_deserializer=_refusing(handler.request_deserializer)
            if handler.request_streaming
            else _lenient(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    async def _guard(
        self,
        method: str,
        call: Callable[[Any, Any], Awaitable[Any]],
        request: Any,
        context: Any,
        default_s: float | None,
    ) -> Any:
        if method.startswith(_INFRASTRUCTURE):
            return await call(_read(request), context)
        started = time.monotonic()
        code = _OK
        cancellation: asyncio.CancelledError | None = None
        limit = None
        if default_s is not None and context.time_remaining() is None:
            limit = _Limit(default_s)
        try:
            with _span(method, context) as span:
                try:
                    self._authorize(method, context)
                    return await call(_read(request), context)
                except grpc.aio.AbortError:
                    code = grpc.StatusCode.UNKNOWN.name
                    raise
                except asyncio.CancelledError as error:
                    if limit is not None and limit.is_cause():
                        answer = table.deadline_exceeded(self._default_deadline_s)
                    else:
                        cancellation = error
                        answer = table.to_status(ShuttingDown("the call was interrupted in the server"))
                except Exception as error:
                    answer = _known(error) or _unforeseen(method, error)
                finally:
                    if limit is not None:
                        limit.end()
                code = _CODES[answer.code].name
                if cancellation is None or not _cancelling():
                    span.fail(_reason(answer))
                span.set(names.RPC_RESPONSE_STATUS_CODE, code)
            trailer = ((_DETAILS_KEY, answer.SerializeToString()),)
            try:
                await context.abort(_CODES[answer.code], answer.message, trailer)
            except grpc.aio.AbortError:
                if not _cancelling():
                    raise
            except Exception:
                # The call is over: its client left, its deadline passed, or the server stopped.
                if cancellation is None:
                    raise
                code = grpc.StatusCode.CANCELLED.name
            raise cancellation or asyncio.CancelledError
        finally:
            self._observe(method, code, time.monotonic() - started)


class _Limit:
    """The default deadline of a call: cancels its task when it passes. What `asyncio.timeout` does, at a third of the
    price: nearly every call has one.
    """

    __slots__ = ("_cancelled_before", "_expired", "_task", "_timer")

    def __init__(self, limit_s: float) -> None:
        """Begin, in the task of the call."""
        task = asyncio.current_task()
        assert task is not None, "a handler runs in a task"
        self._task: asyncio.Task[Any] = task
        self._expired = False
        self._cancelled_before = task.cancelling()
        self._timer = task.get_loop().call_later(limit_s, self._expire)

    def is_cause(self) -> bool:
        """Whether a cancellation that arrived is this one's and nobody else's. Asked once."""
        if not self._expired:
            return False
        self._expired = False
        return self._task.uncancel() <= self._cancelled_before

    def end(self) -> None:
        """Let it pass without consequence from now on."""
        self._timer.cancel()
        if self._expired:
            self._task.uncancel()

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


def _span(method: str, context: Any) -> AbstractContextManager[tracing.Span]:
    """Begin the span of a call."""
    if not tracing.enabled():
        return tracing.span(method)
    return tracing.span(
        method,
        kind=tracing.Kind.SERVER,
        parent=tracing.incoming(context.invocation_metadata()),
        attributes={names.RPC_SYSTEM_NAME: names.RPC_SYSTEM_GRPC, names.RPC_METHOD: method},
    )


def _lenient(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Let what cannot be parsed pass as a mark, so that it is answered like every other error."""
    if parse is None:
        return None

    def parse_or_mark(raw: bytes) -> Any:
        try:
            return parse(raw)
        except DecodeError:
            return _UNREADABLE

    return parse_or_mark


def _refusing(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Make a message of a stream that cannot be parsed an error of the tree, raised where the handler reads it."""
    if parse is None:
        return None

    def parse_or_refuse(raw: bytes) -> Any:
        try:
            return parse(raw)
        except DecodeError:
            raise _unreadable() from None

    return parse_or_refuse


def _read(request: Any) -> Any:
    if request is _UNREADABLE:
        raise _unreadable()
    return request


def _unreadable() -> InvalidInput:
    return InvalidInput.of("", "the request cannot be parsed as the message that the method takes")


async def _pump(inner: Callable[[Any, Any], Any], request: Any, context: Any) -> None:
    """Write what a streaming handler brings: it is an asynchronous generator, or writes by itself."""
    outcome = inner(request, context)
    if isinstance(outcome, AsyncIterator):
        async with aclosing(outcome) as messages:  # type: ignore[type-var]  # generators, as generated code has them
            async for message in messages:
                await context.write(message)
    else:
        await outcome


def _known(error: Exception) -> status_pb2.Status | None:
    """Return the status of an error of the tree, also when a task group wrapped it; None for all others."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return table.to_status(error) if isinstance(error, ForebayError) else None


def _unforeseen(method: str, error: Exception) -> status_pb2.Status:
    request_id = secrets.token_hex(8)
    _LOG.error(
        "call failed",
        extra={"request_id": request_id, "rpc_method": method},
        exc_info=error,
    )
    return table.internal(request_id)


def _reason(answer: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    answer.details[0].Unpack(info)
    return str(info.reason)


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
