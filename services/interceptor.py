"""Around every call of every service: errors become statuses, deadlines exist, spans and durations are recorded.

- An error of the tree is answered as the table in `services/status.py` says, details in `grpc-status-details-bin`.
- Anything else is answered INTERNAL with a request id; its type and stack are logged once under that id, its text
  goes nowhere: it may hold what a client sent.
- Bytes that are no message of the method's type are answered INVALID_ARGUMENT; gRPC alone would say UNKNOWN.
- A CancelledError that no client caused is answered UNAVAILABLE: left alone it would never be answered at all.
- A call that `authorize` refuses never reaches its handler; health and reflection are open to all.
- A call with one response and no deadline gets the default one.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
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
_DETAILS_KEY: Final = "grpc-status-details-bin"
_INFRASTRUCTURE: Final = ("grpc.health.", "grpc.reflection.")
_UNREADABLE: Final = object()
"""Stands for a request whose bytes are no message of its type."""


def _unobserved(method: str, code: str, seconds: float) -> None:
    """Take no notice."""


def _open_to_all(method: str, context: Any) -> None:
    """Let every call in."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each handler once; a call costs a few microseconds more."""

    def __init__(
        self,
        *,
        default_deadline_s: float,
        observe: CallObserver = _unobserved,
        authorize: Authorize = _open_to_all,
    ) -> None:
        self._default_deadline_s = default_deadline_s
        self._observe = observe
        self._authorize = authorize
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler of a method with our wrapping, or None for a method that does not exist."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, self._wrap(method.lstrip("/"), handler))
        return known[1]

    def _wrap(self, method: str, handler: Any) -> Any:
        inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        # A coroutine, never a generator: the whole call stays in one task, and its context variables with it.
        async def stream(request: Any, context: Any) -> None:
            await self._guard(method, context, lambda: _pump(inner, _read(request), context), None)

        async def unary(request: Any, context: Any) -> Any:
            return await self._guard(
                method, context, lambda: inner(_read(request), context), self._default_deadline_s
            )

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
            request_deserializer=_lenient(handler.request_deserializer)
            if handler.unary_unary or handler.unary_stream
            else handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _guard(
        self, method: str, context: Any, call: Callable[[], Awaitable[Any]], default_s: float | None
    ) -> Any:
        if method.startswith(_INFRASTRUCTURE):
            return await call()
        started = time.monotonic()
        code = grpc.StatusCode.OK.name
        attributes = {names.RPC_SYSTEM_NAME: names.RPC_SYSTEM_GRPC, names.RPC_METHOD: method}
        cancellation: asyncio.CancelledError | None = None
        try:
            with tracing.span(
                method,
                kind=tracing.Kind.SERVER,
                parent=tracing.incoming(context.invocation_metadata()) if tracing.enabled() else "",
                attributes=attributes,
            ) as span:
                limit_s = default_s if context.time_remaining() is None else None
                try:
                    async with asyncio.timeout(limit_s) as limit:
                        self._authorize(method, context)
                        return await call()
                except grpc.aio.AbortError:
                    code = grpc.StatusCode.UNKNOWN.name
                    raise
                except asyncio.CancelledError as error:
                    cancellation = error
                    answer = table.to_status(ShuttingDown("the call was interrupted in the server"))
                except TimeoutError as error:
                    answer = (
                        table.deadline_exceeded(self._default_deadline_s)
                        if limit.expired()
                        else _unforeseen(method, error)
                    )
                except Exception as error:
                    answer = _known(error) or _unforeseen(method, error)
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


def _read(request: Any) -> Any:
    if request is _UNREADABLE:
        raise InvalidInput.of("", "the request cannot be parsed as the message that the method takes")
    return request


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
