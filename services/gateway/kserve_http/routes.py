"""Puts the calls under their paths, with the document that describes them beside."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Final

import msgspec
from aiohttp import web

from scheduler.errors import Unsupported
from services.gateway.caller import CallerOf, authorization
from services.gateway.direct import Calls
from services.gateway.kserve.inference import Inference
from services.gateway.kserve.servicer import KServeServicer
from services.gateway.kserve_http.bodies import Room
from services.gateway.kserve_http.context import HttpContext
from services.gateway.kserve_http.door import DOOR, KServeHttp
from services.gateway.kserve_http.failures import error_body
from services.gateway.kserve_http.generate import GenerateHttp
from services.gateway.kserve_http.guard import CallObserver, Guard, Handle
from services.gateway.kserve_http.openapi import document
from services.gateway.kserve_http.operations import OPERATIONS, UNSUPPORTED, Operation
from services.gateway.kserve_http.page import SECURITY_POLICY, page

PREFIX: Final = "/v2"


def kserve_http(
    calls: Calls,
    servicer: KServeServicer,
    caller_of: CallerOf,
    observe: CallObserver,
    *,
    max_bytes: int,
    deadline_s: float,
) -> Callable[[web.Application], None]:
    """Return what adds the door to an application. Bodies may take `max_bytes` together; `deadline_s` is for bodies to
    come, and for calls that are only looked up.
    """
    room = Room(max_bytes)
    inference = Inference(calls, DOOR)
    door = KServeHttp(servicer, inference, caller_of, room, deadline_s)
    generate = GenerateHttp(inference, caller_of, room, deadline_s)
    guard = Guard(authorization(caller_of), observe, deadline_s)

    def add(app: web.Application) -> None:
        for operation in OPERATIONS:
            holder = generate if hasattr(generate, operation.id) else door
            _route(app, guard, operation, getattr(holder, operation.id))
        for operation in UNSUPPORTED:
            _route(app, guard, operation, _refusing(operation))
        described = document(version("forebay"))
        app.router.add_route(
            "GET", "/openapi.json", _fixed(msgspec.json.encode(described), "application/json")
        )
        app.router.add_route(
            *("GET", "/docs"),
            _fixed(page(described).encode(), "text/html", {"Content-Security-Policy": SECURITY_POLICY}),
        )
        app.middlewares.append(_errors_as_json)

    return add


def _route(app: web.Application, guard: Guard, operation: Operation, handle: Handle) -> None:
    for path in operation.paths:
        app.router.add_route(operation.method, path, guard.around(operation, path, handle))


def _refusing(operation: Operation) -> Handle:
    async def refuse(request: web.Request, context: HttpContext) -> web.StreamResponse:
        raise Unsupported(f"not supported: {operation.summary}")

    return refuse


def _fixed(
    body: bytes, kind: str, headers: Mapping[str, str] | None = None
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return answer


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer in the protocol's way what no handler was found for."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not (request.path == PREFIX or request.path.startswith(f"{PREFIX}/")):
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        what = f"{request.method} {request.path}: {error.reason.lower()}"
        return web.Response(
            body=error_body(what), status=error.status, content_type="application/json", headers=headers
        )
