"""Triton's extension for language models: a text goes in as JSON, and comes out whole or as server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

What it asks for becomes an inference with the inputs of `services/gateway/kserve/language.py`.
"""

import json
from contextlib import aclosing
from typing import Any, Final

import msgspec
from aiohttp import web

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest, ModelInferResponse
from forebay.models.v1.model_service_pb2 import ENGINE_KIND_GENERATE
from services.gateway.caller import CallerOf
from services.gateway.kserve.contents import join
from services.gateway.kserve.inference import Inference, Prepared
from services.gateway.kserve.language import (
    FINISH_REASON,
    SAMPLING,
    STREAM,
    TEXT_INPUT,
    TEXT_OUTPUT,
)
from services.gateway.kserve.parameters import CACHED
from services.gateway.kserve_http.bodies import Room, read_body
from services.gateway.kserve_http.context import HttpContext
from services.gateway.kserve_http.elements import from_bytes
from services.gateway.kserve_http.failures import error_body, failure_of
from services.gateway.kserve_http.infer_request import decode_object
from services.gateway.kserve_http.messages import fill_parameters
from services.gateway.kserve_http.refusals import BadBody

_STOP: Final = "stop"
_EVENTS: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""The last one keeps a proxy from gathering events."""


class GenerateHttp:
    """Handlers by the id of their operation; `Guard` is around each."""

    def __init__(self, inference: Inference, caller_of: CallerOf, room: Room, body_within_s: float) -> None:
        """A body must come within `body_within_s`."""
        self._inference = inference
        self._caller_of = caller_of
        self._room = room
        self._body_within_s = body_within_s

    async def Generate(self, request: web.Request, context: HttpContext) -> web.Response:
        """Continue a text, and return it whole."""
        prepared = await self._prepared(request, context, stream=False)
        answer = _answer(await self._inference.whole(prepared))
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def GenerateStream(self, request: web.Request, context: HttpContext) -> web.StreamResponse:
        """Continue a text, and return it as it is generated."""
        prepared = await self._prepared(request, context, stream=True)
        response = web.StreamResponse(headers=_EVENTS)
        async with aclosing(self._inference.pieces(prepared)) as pieces:
            # What fails before there is anything to send still has a code of its own.
            piece = await anext(pieces, None)
            await response.prepare(request)
            while piece is not None:
                await response.write(_event(msgspec.json.encode(_answer(piece))))
                try:
                    piece = await anext(pieces, None)
                except Exception as error:  # told in an event, whatever it is
                    failure = failure_of(error, "http/GenerateStream")
                    context.failure = failure.name
                    await response.write(_event(error_body(failure.message)))
                    break
        await response.write_eof()
        return response

    async def _prepared(self, request: web.Request, context: HttpContext, *, stream: bool) -> Prepared:
        with self._room.place() as place:
            asked = decode_object(await read_body(request, place, self._body_within_s), dict[str, Any])
            message = _inference_of(asked, stream=stream)
        message.model_name = request.match_info["model"]
        message.model_version = request.match_info.get("version", "")
        served = self._inference.models.find(message.model_name, message.model_version)
        if served.engine and served.engine != ENGINE_KIND_GENERATE:
            raise BadBody(f"{served.name} is no language model: call infer")
        return self._inference.prepare(message, self._caller_of(context).tenant, context.time_remaining())


def _inference_of(asked: dict[str, Any], *, stream: bool) -> ModelInferRequest:
    """Return the inference that a body asks for. Raises BadBody."""
    text = asked.pop(TEXT_INPUT, None)
    name = asked.pop("id", "")
    own = asked.pop("parameters", {})
    if not isinstance(text, str):
        raise BadBody(f"{TEXT_INPUT} is required, and must be a text")
    if not isinstance(name, str):
        raise BadBody("id must be a text")
    if not isinstance(own, dict):
        raise BadBody("parameters must be an object")
    parameters = asked | own
    # Which of the two paths was called says it.
    parameters.pop(STREAM, None)
    message = ModelInferRequest(id=name)
    _add_texts(message, TEXT_INPUT, [text])
    stop = parameters.get(_STOP)
    if isinstance(stop, list):
        if not all(isinstance(each, str) for each in stop):
            raise BadBody(f"{_STOP} must be a text, or a list of them")
        del parameters[_STOP]
        if stop:
            _add_texts(message, _STOP, stop)
    if isinstance(parameters.get(SAMPLING), dict):
        parameters[SAMPLING] = json.dumps(parameters[SAMPLING])
    fill_parameters(parameters, message.parameters, "parameters")
    message.parameters[STREAM].bool_param = stream
    message.outputs.add(name=TEXT_OUTPUT)
    message.outputs.add(name=FINISH_REASON)
    return message


def _add_texts(message: ModelInferRequest, name: str, texts: list[str]) -> None:
    message.inputs.add(name=name, datatype="BYTES", shape=[len(texts)])
    message.raw_input_contents.append(join([text.encode() for text in texts]))


def _answer(response: ModelInferResponse) -> dict[str, Any]:
    answer: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        answer["id"] = response.id
    if CACHED in response.parameters:
        answer[CACHED] = response.parameters[CACHED].bool_param
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        texts = from_bytes("BYTES", raw, output.name)
        if output.name == TEXT_OUTPUT or any(texts):
            answer[output.name] = texts[0] if len(texts) == 1 else texts
    return answer


def _event(content: bytes) -> bytes:
    return b"data: " + content + b"\n\n"
