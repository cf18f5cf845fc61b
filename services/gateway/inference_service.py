"""InferenceService: calls of clients that wait on the line, in the platform's own terms. It translates, nothing else.

A request comes here from sdk/forebay/client/async_client.py and goes on in services/gateway/direct/calls.py.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar

import grpc.aio

from cache.key import CacheMode
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.inference.v1 import inference_service_pb2_grpc
from forebay.models.v1.model_service_pb2 import EngineKind
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import task_pb2
from inference.rules import check_embed, check_generate
from observability import tracing
from services.gateway import convert
from services.gateway.caching.ready import Again, ReadyResponses
from services.gateway.caller import CallerOf
from services.gateway.direct import DEFAULT_POOL, Calls, DirectCall
from services.gateway.direct.prompts import prefixes_of
from services.gateway.input_validation import MAX_NAME, MAX_TENSORS, Faults, check_tensors
from services.gateway.request_validation import refuse
from services.gateway.validation import MODEL_RULE, is_model
from services.lifecycle import Service

MAX_SEQUENCE: Final = 256
_ENGINES: Final = {
    EngineKind.ENGINE_KIND_TENSOR: "a tensor model: call Infer",
    EngineKind.ENGINE_KIND_GENERATE: "a language model: call Generate",
    EngineKind.ENGINE_KIND_EMBED: "an embedding model: call Embed",
}
_CACHE_MODES: Final = {
    task_pb2.CACHE_MODE_UNSPECIFIED: CacheMode.DEFAULT,
    task_pb2.CACHE_MODE_DEFAULT: CacheMode.DEFAULT,
    task_pb2.CACHE_MODE_BYPASS: CacheMode.BYPASS,
    task_pb2.CACHE_MODE_REFRESH: CacheMode.REFRESH,
    task_pb2.CACHE_MODE_ONLY: CacheMode.ONLY,
}
_Request = contract.InferRequest | contract.EmbedRequest | contract.GenerateRequest
_Response = TypeVar("_Response", contract.InferResponse, contract.EmbedResponse)


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, calls: Calls, caller_of: CallerOf, pools: Collection[str]) -> None:
        self._calls = calls
        self._caller_of = caller_of
        self._pools = frozenset(pools)
        self._tensors: ReadyResponses[contract.InferResponse] = ReadyResponses()
        self._vectors: ReadyResponses[contract.EmbedResponse] = ReadyResponses()

    async def Infer(self, request: contract.InferRequest, context: Any) -> contract.InferResponse:
        """See the contract."""
        tenant = self._caller_of(context).tenant
        if (again := self._tensors.find(tenant, request)) is not None:
            return _timed(again, contract.InferResponse())
        faults: Faults = []
        check_tensors(request.tensors, faults)
        _check_outputs(request.outputs, faults)
        if request.HasField("sequence") and not 1 <= len(request.sequence.id) <= MAX_SEQUENCE:
            faults.append(("sequence.id", f"must be 1 to {MAX_SEQUENCE} characters long"))

        def fill(call: Call) -> None:
            call.tensors.CopyFrom(request.tensors)
            for name in request.outputs:
                call.outputs.add(name=name)

        wanted = self._wanted(request, EngineKind.ENGINE_KIND_TENSOR, tenant, context, fill, faults)
        if request.HasField("sequence"):
            sequence = request.sequence
            wanted.sequence_key = sequence.id
            wanted.sequence_start, wanted.sequence_end = sequence.start, sequence.end
        answer = await self._calls.call(wanted)
        response = contract.InferResponse(tensors=answer.tensors)
        _write_execution(response.execution, wanted, answer)
        self._tensors.keep(tenant, request, wanted, response)
        return response

    async def Embed(self, request: contract.EmbedRequest, context: Any) -> contract.EmbedResponse:
        """See the contract."""
        tenant = self._caller_of(context).tenant
        if (again := self._vectors.find(tenant, request)) is not None:
            return _timed(again, contract.EmbedResponse())
        faults: Faults = []
        check_embed(request.embed, faults)

        def fill(call: Call) -> None:
            call.embed.CopyFrom(request.embed)

        wanted = self._wanted(request, EngineKind.ENGINE_KIND_EMBED, tenant, context, fill, faults)
        answer = await self._calls.call(wanted)
        response = contract.EmbedResponse(embed=answer.embed, usage=answer.usage)
        _write_execution(response.execution, wanted, answer)
        self._vectors.keep(tenant, request, wanted, response)
        return response

    async def Generate(
        self, request: contract.GenerateRequest, context: Any
    ) -> AsyncIterator[contract.GenerateResponse]:
        """See the contract."""
        faults: Faults = []
        check_generate(request.generate, faults)

        def fill(call: Call) -> None:
            call.generate.CopyFrom(request.generate)

        tenant = self._caller_of(context).tenant
        wanted = self._wanted(request, EngineKind.ENGINE_KIND_GENERATE, tenant, context, fill, faults)
        if self._calls.by_prefix(request.model):
            wanted.prefixes = prefixes_of(tenant, request.model, request.generate)
        ended = False
        async with aclosing(self._calls.stream(wanted)) as answers:
            async for answer in answers:
                if answer.HasField("chunk"):
                    new = answer.chunk
                    ended = ended or bool(new.finish_reason)
                    yield contract.GenerateResponse(
                        text=new.text,
                        token_ids=new.token_ids,
                        finish_reason=new.finish_reason,
                        logprobs=new.logprobs,
                        others=new.others,
                    )
                else:
                    last = contract.GenerateResponse(usage=answer.usage)
                    if not ended:
                        last.finish_reason = answer.generate.finish_reason
                    _write_execution(last.execution, wanted, answer)
                    yield last

    def _wanted(
        self,
        request: _Request,
        engine: EngineKind.ValueType,
        tenant: str,
        context: Any,
        fill: Any,
        faults: Faults,
    ) -> DirectCall:
        """Check what all requests have, and make the call. Raises InvalidInput, ModelNotFound."""
        if not is_model(request.model):
            faults.append(("model", MODEL_RULE if request.model else f"is required and {MODEL_RULE}"))
        if not 0 <= request.priority <= 4:
            faults.append(("priority", f"{request.priority} is not a priority"))
        if request.pool and request.pool not in self._pools:
            faults.append(("pool", f"there is no such pool; there is {', '.join(sorted(self._pools))}"))
        if request.cache not in _CACHE_MODES:
            faults.append(("cache", f"{request.cache} is not a mode of the cache"))
        refuse(faults)
        pool = request.pool or DEFAULT_POOL
        served = self._calls.model(request.model, pool=pool).model.engine
        if served != engine and served in _ENGINES:
            refuse([("model", f"is {_ENGINES[served]}")])
        left_s = context.time_remaining()
        return DirectCall(
            tenant=tenant,
            model=request.model,
            fill=fill,
            pool=pool,
            priority=convert.LEVELS[request.priority],
            timeout_ms=0 if left_s is None else max(1, int(left_s * 1000)),
            traceparent=tracing.current(),
            size_bytes=request.ByteSize(),
            kind=request.kind[: convert.LONGEST_KIND],
            cache=_CACHE_MODES[request.cache],
        )


def _check_outputs(outputs: Sequence[str], faults: Faults) -> None:
    if len(outputs) > MAX_TENSORS:
        faults.append(("outputs", f"must be at most {MAX_TENSORS}, are {len(outputs)}"))
        return
    if len(set(outputs)) < len(outputs):
        faults.append(("outputs", "must name each output once"))
    faults += [
        (f"outputs[{index}]", f"must be 1 to {MAX_NAME} characters long")
        for index, name in enumerate(outputs)
        if not 1 <= len(name) <= MAX_NAME
    ]


def _write_execution(execution: contract.Execution, wanted: DirectCall, answer: Answer) -> None:
    execution.runner = wanted.runner
    execution.version = wanted.served_version
    execution.cached = wanted.cached
    execution.sampled = wanted.sampled
    timing = execution.timing
    if wanted.cached:
        _write_waited(timing, wanted.took_s)
        return
    timing.execute.FromMicroseconds(answer.execute_us)
    timing.queue.FromMicroseconds(max(0, int(wanted.took_s * 1e6) - answer.execute_us))
    if answer.first_token_us:
        timing.time_to_first_token.FromMicroseconds(answer.first_token_us)


def _write_waited(timing: task_pb2.Timing, took_s: float) -> None:
    """Write how long a call took for which nothing was executed; `Duration`'s own functions take long for a hit."""
    whole_s = int(took_s)
    timing.queue.seconds, timing.queue.nanos = whole_s, int((took_s - whole_s) * 1e9)


def _timed(again: Again[_Response], response: _Response) -> _Response:
    """Make an empty response one that is ready, with a time of its own."""
    response.CopyFrom(again.response)
    _write_waited(response.execution.timing, again.took_s)
    return response


def inference_service(servicer: InferenceServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)

    return Service(contract.DESCRIPTOR.services_by_name["InferenceService"].full_name, register)
