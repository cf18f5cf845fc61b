"""Around every call over HTTP, as `services/interceptor.py` around those over gRPC: callers are known, errors become
answers, spans and durations are recorded.

When the client goes away the handler is cancelled, and with it the work that it waits for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from observability import names, tracing
from scheduler.errors import DeadlinePassed
from services.gateway.kserve_http.context import HttpContext
from services.gateway.kserve_http.failures import failure_of
from services.gateway.kserve_http.operations import Operation
from services.gateway.kserve_http.refusals import FromElsewhere

Handle = Callable[[web.Request, HttpContext], Awaitable[web.StreamResponse]]
Authorize = Callable[[str, Any], None]
"""Asked before every call: method, and context. Raises an error of the tree."""
CallObserver = Callable[[str, str, float], None]
"""Told of every finished call: its name, the name of a google.rpc.Code, seconds."""

_OTHER_SITES: Final = ("cross-site", "same-site")
"""What browsers say in Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/) of calls that they make for a page that
is not of this server.
"""


class Guard:
    """Wraps handlers."""

    def __init__(self, authorize: Authorize, observe: CallObserver, deadline_s: float) -> None:
        """`deadline_s` is for calls that are only looked up."""
        self._authorize = authorize
        self._observe = observe
        self._deadline_s = deadline_s

    def around(
        self, operation: Operation, path: str, handle: Handle
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler for one path of an operation."""
        call = f"http/{operation.id}"
        attributes = {names.RPC_METHOD: call}

        async def guarded(request: web.Request) -> web.StreamResponse:
            started = time.monotonic()
            code = "OK"
            context = HttpContext(request)
            try:
                with tracing.span(
                    f"{operation.method} {path}",
                    kind=tracing.Kind.SERVER,
                    parent=_traceparent(request) if tracing.enabled() else "",
                    attributes=attributes,
                ) as span:
                    try:
                        answer = await self._run(operation, handle, request, context)
                        if code := context.failure:
                            span.fail(code)
                        code = code or "OK"
                        return answer
                    except asyncio.CancelledError:
                        code = "CANCELLED"
                        raise
                    except ConnectionError:
                        # The client went while it was written to: there is nobody to tell.
                        code = "CANCELLED"
                        raise
                    except Exception as error:
                        failure = failure_of(error, call)
                        code = failure.name
                        span.fail(code)
                        return failure.response()
                    finally:
                        span.set(names.RPC_RESPONSE_STATUS_CODE, code)
            finally:
                self._observe(call, code, time.monotonic() - started)

        return guarded

    async def _run(
        self, operation: Operation, handle: Handle, request: web.Request, context: HttpContext
    ) -> web.StreamResponse:
        if not operation.open_to_all:
            # Where nobody is asked for a key, any page that a person at this machine looks at could call.
            if request.headers.get("Sec-Fetch-Site", "none") in _OTHER_SITES:
                raise FromElsewhere("pages of other sites may not call this server")
            self._authorize(operation.grpc_method, context)
        if operation.takes_time:
            return await handle(request, context)
        try:
            async with asyncio.timeout(self._deadline_s) as limit:
                return await handle(request, context)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlinePassed(f"the call took longer than {self._deadline_s:g} s")


def _traceparent(request: web.Request) -> str:
    return tracing.incoming([(names.TRACEPARENT, request.headers.get(names.TRACEPARENT, ""))])
