"""The calls over HTTP. They turn JSON into the protocol's messages and back, and what is in between is that of the door
over gRPC, `services/gateway/kserve`.
"""

import asyncio
from typing import Any, Final

import msgspec
from aiohttp import web

from forebay.compat.kserve import kserve_service_pb2 as contract
from scheduler.errors import ModelNotReady
from services.gateway.caller import CallerOf
from services.gateway.kserve.inference import Inference
from services.gateway.kserve.servicer import KServeServicer
from services.gateway.kserve_http.bodies import Room, read_body
from services.gateway.kserve_http.compression import compressed, wanted_coding
from services.gateway.kserve_http.context import HttpContext
from services.gateway.kserve_http.infer_request import HEADER_LENGTH, decode_object, read_request
from services.gateway.kserve_http.infer_response import Body, write_response
from services.gateway.kserve_http.messages import plain
from services.gateway.kserve_http.refusals import BadBody

DOOR: Final = "kserve_http"
_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
_ASIDE_BYTES: Final = 128 << 10
"""What is larger is compressed on another thread."""


class _Index(msgspec.Struct):
    ready: bool = False


class _Control(msgspec.Struct):
    parameters: dict[str, Any] = {}


class KServeHttp:
    """Handlers by the id of their operation; `Guard` is around each."""

    def __init__(
        self,
        servicer: KServeServicer,
        inference: Inference,
        caller_of: CallerOf,
        room: Room,
        body_within_s: float,
    ) -> None:
        """A body must come within `body_within_s`."""
        self._servicer = servicer
        self._inference = inference
        self._caller_of = caller_of
        self._room = room
        self._body_within_s = body_within_s

    async def ServerLive(self, request: web.Request, context: HttpContext) -> web.Response:
        """Answer: whoever answers is alive."""
        return web.Response()

    async def ServerReady(self, request: web.Request, context: HttpContext) -> web.Response:
        """Tell whether the gateway takes calls."""
        response = await self._servicer.ServerReady(contract.ServerReadyRequest(), context)
        return web.Response(status=200 if response.ready else 503)

    async def ServerMetadata(self, request: web.Request, context: HttpContext) -> web.Response:
        """Describe the server."""
        return _json(plain(await self._servicer.ServerMetadata(contract.ServerMetadataRequest(), context)))

    async def ModelMetadata(self, request: web.Request, context: HttpContext) -> web.Response:
        """Describe a model."""
        wanted = contract.ModelMetadataRequest(**_model(request))
        return _json(plain(await self._servicer.ModelMetadata(wanted, context)))

    async def ModelReady(self, request: web.Request, context: HttpContext) -> web.Response:
        """Tell whether a model can be called."""
        wanted = _model(request)
        if not self._inference.models.find(wanted["name"], wanted["version"]).known.ready:
            raise ModelNotReady(f"{wanted['name']} is not ready")
        return web.Response()

    async def ModelConfig(self, request: web.Request, context: HttpContext) -> web.Response:
        """Return a model's configuration."""
        response = await self._servicer.ModelConfig(contract.ModelConfigRequest(**_model(request)), context)
        return _json(plain(response.config))

    async def ModelStatistics(self, request: web.Request, context: HttpContext) -> web.Response:
        """Return what was counted."""
        wanted = contract.ModelStatisticsRequest(**_model(request))
        return _json(plain(await self._servicer.ModelStatistics(wanted, context)))

    async def ModelInfer(self, request: web.Request, context: HttpContext) -> web.Response:
        """Run a model."""
        with self._room.place() as place:
            body = await read_body(request, place, self._body_within_s)
            message, form = read_request(body, request.headers.get(HEADER_LENGTH))
            del body
            message.model_name = request.match_info["model"]
            message.model_version = request.match_info.get("version", "")
            tenant = self._caller_of(context).tenant
            prepared = self._inference.prepare(message, tenant, context.time_remaining())
            if prepared.streams:
                raise BadBody("stream is for generate_stream: an inference has one answer")
            answer = write_response(await self._inference.whole(prepared), form)
            return await _sent(answer, wanted_coding(request.headers.get("Accept-Encoding", "")))

    async def RepositoryIndex(self, request: web.Request, context: HttpContext) -> web.Response:
        """List what the repositories hold."""
        wanted: _Index = await self._asked(request, _Index)
        message = contract.RepositoryIndexRequest(ready=wanted.ready)
        response = await self._servicer.RepositoryIndex(message, context)
        return _json([plain(each) for each in response.models])

    async def RepositoryModelLoad(self, request: web.Request, context: HttpContext) -> web.Response:
        """Load a model."""
        wanted: _Control = await self._asked(request, _Control)
        message = contract.RepositoryModelLoadRequest(model_name=request.match_info["model"])
        _name_parameters(wanted, message)
        await self._servicer.RepositoryModelLoad(message, context)
        return web.Response()

    async def RepositoryModelUnload(self, request: web.Request, context: HttpContext) -> web.Response:
        """Unload a model."""
        wanted: _Control = await self._asked(request, _Control)
        message = contract.RepositoryModelUnloadRequest(model_name=request.match_info["model"])
        _name_parameters(wanted, message)
        await self._servicer.RepositoryModelUnload(message, context)
        return web.Response()

    async def _asked(self, request: web.Request, wanted: Any) -> Any:
        """Return a small body, which may be left out."""
        with self._room.place() as place:
            body = await read_body(request, place, self._body_within_s)
        return decode_object(body, wanted) if body.strip() else wanted()


def _model(request: web.Request) -> dict[str, str]:
    """Return which model and version the path names; empty texts for what it does not."""
    found = request.match_info
    return {"name": found.get("model", ""), "version": found.get("version", "")}


def _name_parameters(wanted: _Control, message: Any) -> None:
    """Tell which parameters there are: what they say matters for none of those that are taken."""
    for name in wanted.parameters:
        message.parameters[name].bool_param = True


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type=_JSON)


async def _sent(body: Body, coding: str) -> web.Response:
    headers = {} if body.json_bytes is None else {HEADER_LENGTH: str(body.json_bytes)}
    content = body.content
    if coding:
        headers["Vary"] = "Accept-Encoding"
        aside = len(content) > _ASIDE_BYTES
        small = await asyncio.to_thread(compressed, content, coding) if aside else compressed(content, coding)
        if small is not None:
            content = small
            headers["Content-Encoding"] = coding
    kind = _JSON if body.json_bytes is None else _BINARY
    return web.Response(body=content, content_type=kind, headers=headers)
