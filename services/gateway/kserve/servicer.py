"""GRPCInferenceService. It translates, nothing else; see the package for the way of a request."""

import asyncio
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from forebay.compat.kserve import kserve_service_pb2 as contract
from forebay.compat.kserve import kserve_service_pb2_grpc
from scheduler.errors import ModelNotFound, Unsupported
from services.gateway.caching.ready import ReadyResponses
from services.gateway.caller import CallerOf
from services.gateway.direct import Calls
from services.gateway.kserve.inference import Inference
from services.gateway.kserve.metadata import model_config, model_metadata, server_metadata
from services.gateway.kserve.repository import (
    check_load,
    check_repository,
    index_response,
)
from services.gateway.kserve.statistics import summed
from services.gateway.kserve.stream import InferStream
from services.gateway.repository_control import RepositoryControl
from services.lifecycle import Service

DOOR: Final = "kserve_grpc"
SERVICE: Final = contract.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_NO_SHARED_MEMORY: Final = "clients share no memory with the runners here: send tensors in the request"
_NO_TRACE_SETTING: Final = "traces are OpenTelemetry's here, and set when the gateway starts"
_NO_LOG_SETTINGS: Final = "logging is set when the gateway starts"


class KServeServicer(kserve_service_pb2_grpc.GRPCInferenceServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, calls: Calls, caller_of: CallerOf, repository: RepositoryControl) -> None:
        self._calls = calls
        self._caller_of = caller_of
        self._repository = repository
        self._inference = Inference(calls, DOOR)
        self._ready: ReadyResponses[contract.ModelInferResponse] = ReadyResponses()

    async def ServerLive(self, request: Any, context: Any) -> contract.ServerLiveResponse:
        """See the contract."""
        return contract.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> contract.ServerReadyResponse:
        """See the contract."""
        return contract.ServerReadyResponse(ready=self._calls.open)

    async def ModelReady(
        self, request: contract.ModelReadyRequest, context: Any
    ) -> contract.ModelReadyResponse:
        """See the contract."""
        try:
            ready = self._inference.models.find(request.name, request.version).known.ready
        except ModelNotFound:
            ready = False
        return contract.ModelReadyResponse(ready=ready)

    async def ServerMetadata(self, request: Any, context: Any) -> contract.ServerMetadataResponse:
        """See the contract."""
        return server_metadata()

    async def ModelMetadata(
        self, request: contract.ModelMetadataRequest, context: Any
    ) -> contract.ModelMetadataResponse:
        """See the contract."""
        return model_metadata(self._inference.models.find(request.name, request.version))

    async def ModelConfig(
        self, request: contract.ModelConfigRequest, context: Any
    ) -> contract.ModelConfigResponse:
        """See the contract."""
        return model_config(self._inference.models.find(request.name, request.version))

    async def ModelInfer(
        self, request: contract.ModelInferRequest, context: Any
    ) -> contract.ModelInferResponse:
        """See the contract."""
        inference = self._inference
        tenant = self._caller_of(context).tenant
        if (again := self._ready.find(tenant, request)) is not None:
            return again.response
        prepared = inference.prepare(request, tenant, context.time_remaining())
        response = await inference.whole(prepared)
        self._ready.keep(tenant, request, prepared.wanted, response)
        return response

    # It reads and writes by itself: generated types know only generators.
    async def ModelStreamInfer(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        """See the contract."""
        stream = InferStream(self._inference, context, self._caller_of(context).tenant)
        await stream.run(self._calls.closing)

    async def ModelStatistics(
        self, request: contract.ModelStatisticsRequest, context: Any
    ) -> contract.ModelStatisticsResponse:
        """See the contract."""
        models = self._inference.models
        if request.version:
            chosen = [models.find(request.name, request.version)]
        else:
            chosen = models.versions(request.name)
        counted = await asyncio.gather(*(self._calls.statistics(served.known) for served in chosen))
        return contract.ModelStatisticsResponse(
            model_stats=[
                summed(served.name, served.version, each, self._calls.cache_counts(served.known))
                for served, each in zip(chosen, counted, strict=True)
            ]
        )

    async def RepositoryIndex(
        self, request: contract.RepositoryIndexRequest, context: Any
    ) -> contract.RepositoryIndexResponse:
        """See the contract."""
        check_repository(request.repository_name)
        return index_response(await self._repository.index(ready=request.ready))

    async def RepositoryModelLoad(
        self, request: contract.RepositoryModelLoadRequest, context: Any
    ) -> contract.RepositoryModelLoadResponse:
        """See the contract."""
        check_repository(request.repository_name)
        check_load(request.model_name, list(request.parameters))
        await self._repository.load(request.model_name)
        return contract.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: contract.RepositoryModelUnloadRequest, context: Any
    ) -> contract.RepositoryModelUnloadResponse:
        """See the contract."""
        check_repository(request.repository_name)
        check_load(request.model_name, [name for name in request.parameters if name != "unload_dependents"])
        await self._repository.unload(request.model_name)
        return contract.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_SHARED_MEMORY)

    async def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_SHARED_MEMORY)

    async def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_SHARED_MEMORY)

    async def CudaSharedMemoryStatus(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_SHARED_MEMORY)

    async def CudaSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_SHARED_MEMORY)

    async def CudaSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_SHARED_MEMORY)

    async def TraceSetting(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_TRACE_SETTING)

    async def LogSettings(self, request: Any, context: Any) -> Any:
        """See the contract."""
        raise Unsupported(_NO_LOG_SETTINGS)


def kserve_service(servicer: KServeServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        kserve_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        # In place of the generated one, whose reading ends a stream at a message that cannot be parsed.
        streaming = grpc.stream_stream_rpc_method_handler(
            servicer.ModelStreamInfer,
            request_deserializer=_read_request,
            response_serializer=contract.ModelStreamInferResponse.SerializeToString,
        )
        server.add_registered_method_handlers(SERVICE, {"ModelStreamInfer": streaming})

    return Service(SERVICE, register)


def _read_request(raw: bytes) -> contract.ModelInferRequest | None:
    """Return a request of a stream; None for one that cannot be parsed."""
    try:
        return contract.ModelInferRequest.FromString(raw)
    except DecodeError:
        return None
