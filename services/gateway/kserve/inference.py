"""From a request of the protocol to a call of the direct way, and from its answers to responses.

For both doors, gRPC and HTTP: they differ in how the protocol's messages come and go.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Final

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest, ModelInferResponse
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Call
from forebay.tasks.v1 import inputs_pb2
from observability import tracing
from scheduler.errors import InvalidInput
from services.gateway.direct import Calls, DirectCall
from services.gateway.direct.prompts import prefixes_of
from services.gateway.kserve import embeddings, language
from services.gateway.kserve.contents import Element, values_of
from services.gateway.kserve.layouts import elements_of, layout_of
from services.gateway.kserve.parameters import CACHED, NO_OPTIONS, Options, read_options, value_of
from services.gateway.kserve.served import Catalogue, Served
from services.gateway.kserve.tensor_calls import tensor_call, write_tensors
from services.gateway.kserve.wanted_outputs import wanted_outputs

FINAL_RESPONSE: Final = "triton_final_response"
_GENERATE: Final = model_service_pb2.ENGINE_KIND_GENERATE
_EMBED: Final = model_service_pb2.ENGINE_KIND_EMBED


@dataclass(slots=True, eq=False)
class Prepared:
    """A request that was checked, ready to be executed once."""

    served: Served
    wanted: DirectCall
    id: str
    """As the client chose it."""
    marks_final: bool = False
    """Whether responses say which of them is the last one."""
    streams: bool = False
    """Whether it has any number of responses."""
    before: bytes = b""
    """What the text of a generation begins with."""
    outputs: tuple[str, ...] = ()
    """Outputs that are wanted of a model that is not one of tensors; empty for the usual ones."""


class Inference:
    """Executes requests."""

    def __init__(self, calls: Calls, door: str) -> None:
        """`door` is the name of the door in metrics."""
        self.models: Final = Catalogue(calls)
        self._calls = calls
        self._door = door

    def prepare(self, request: ModelInferRequest, tenant: str, left_s: float | None) -> Prepared:
        """Check a request and turn it into a call. `left_s` is how long the client still waits, None when it does not
        say. Raises InvalidInput, ModelNotFound, ServerUnavailable while nobody knows who is there.
        """
        served = self.models.find(request.model_name, request.model_version)
        options = NO_OPTIONS
        if request.parameters:
            options = read_options({name: value_of(each) for name, each in request.parameters.items()})
        if served.engine == _GENERATE:
            prepared = self._generation(served, request, options, tenant)
        elif served.engine == _EMBED:
            prepared = self._embedding(served, request, tenant)
        else:
            prepared = Prepared(served, tensor_call(served, request, options, tenant), request.id)
        prepared.marks_final = options.empty_final
        wanted = prepared.wanted
        if not served.known.latest:
            wanted.version = served.known.version
        wanted.priority = options.priority
        wanted.kind = options.kind
        wanted.cache = options.cache
        wanted.timeout_ms = options.timeout_ms
        if left_s is not None:
            left_ms = max(1, int(left_s * 1000))
            wanted.timeout_ms = min(left_ms, wanted.timeout_ms or left_ms)
        wanted.traceparent = tracing.current()
        wanted.door = self._door
        return prepared

    async def whole(self, prepared: Prepared) -> ModelInferResponse:
        """Return the one response to a request. Raises what DirectCalls raises."""
        answer = await self._calls.call(prepared.wanted)
        response = _response(prepared)
        if prepared.marks_final:
            response.parameters[FINAL_RESPONSE].bool_param = True
        engine = prepared.served.engine
        if engine == _GENERATE:
            language.write_text(response, answer.generate, prepared.before, prepared.outputs)
        elif engine == _EMBED:
            embeddings.write_embeddings(response, answer, prepared.outputs)
        else:
            write_tensors(response, answer)
        return response

    async def pieces(self, prepared: Prepared) -> AsyncGenerator[ModelInferResponse, None]:
        """Yield the responses to a request that `streams`, as they come. Raises what DirectCalls raises.

        Whoever does not read it to its end must close it (`aclosing`), which stops the work.
        """
        async with aclosing(self._calls.stream(prepared.wanted)) as answers:
            async for answer in answers:
                last = not answer.HasField("chunk")
                chunk = answer.chunk
                if not last and not chunk.text and not (chunk.finish_reason and prepared.outputs):
                    continue
                if last and not prepared.marks_final:
                    return
                response = _response(prepared)
                if prepared.marks_final:
                    response.parameters[FINAL_RESPONSE].bool_param = last
                if not last:
                    language.write_text(response, chunk, prepared.before, prepared.outputs)
                yield response

    def _generation(
        self, served: Served, request: ModelInferRequest, options: Options, tenant: str
    ) -> Prepared:
        values = _values(served, request)
        outputs = _plain_outputs(served, request)
        prompt = language.prompt_of(values, options.others)
        generate = prompt.generate
        wanted = DirectCall(
            tenant, served.name, partial(_fill_generate, generate), size_bytes=generate.ByteSize()
        )
        if self._calls.by_prefix(served.name):
            wanted.prefixes = prefixes_of(tenant, served.name, generate)
        return Prepared(
            served, wanted, request.id, streams=prompt.stream, before=prompt.before, outputs=outputs
        )

    def _embedding(self, served: Served, request: ModelInferRequest, tenant: str) -> Prepared:
        values = _values(served, request)
        outputs = _plain_outputs(served, request)
        embed = embeddings.embed_input(values)
        wanted = DirectCall(tenant, served.name, partial(_fill_embed, embed), size_bytes=embed.ByteSize())
        return Prepared(served, wanted, request.id, outputs=outputs)


def _response(prepared: Prepared) -> ModelInferResponse:
    served = prepared.served
    version = prepared.wanted.served_version or served.version
    response = ModelInferResponse(model_name=served.name, model_version=str(version), id=prepared.id)
    if prepared.wanted.cached:
        response.parameters[CACHED].bool_param = True
    return response


def _values(served: Served, request: ModelInferRequest) -> Mapping[str, Sequence[Element]]:
    """Return the elements of each input of a model that is not one of tensors. Raises InvalidInput."""
    layout = layout_of(request)
    raws = elements_of(served, request, layout)
    return {
        name: values_of(datatype, raw, prod(shape), f"input '{name}'")
        for (name, datatype, shape), raw in zip(layout, raws, strict=True)
    }


def _plain_outputs(served: Served, request: ModelInferRequest) -> tuple[str, ...]:
    """Return the names of the outputs that are wanted. Raises InvalidInput, also for what only tensor models have."""
    outputs = wanted_outputs(served, request)
    for index, output in enumerate(outputs):
        if output.classes:
            fault = f"output '{output.name}' of model '{served.name}' has no classes"
            raise InvalidInput.of(f"outputs[{index}].parameters", fault)
    return tuple(output.name for output in outputs)


def _fill_generate(generate: inputs_pb2.GenerateInput, call: Call) -> None:
    call.generate.CopyFrom(generate)


def _fill_embed(embed: inputs_pb2.EmbedInput, call: Call) -> None:
    call.embed.CopyFrom(embed)
