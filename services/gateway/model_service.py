"""ModelService: which models the fleet serves, as the runners announce themselves, and loading and unloading them."""

from collections.abc import Iterable
from typing import Any

import grpc.aio

from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from forebay.runner.v1 import runner_service_pb2
from scheduler.ports.membership import Membership
from services.gateway.announced import runners
from services.gateway.repository_control import RepositoryControl
from services.gateway.request_validation import check_model
from services.lifecycle import Service

Status = runner_service_pb2.WatchStatusResponse


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, membership: Membership, repository: RepositoryControl) -> None:
        self._membership = membership
        self._repository = repository

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Any
    ) -> model_service_pb2.ListModelsResponse:
        """See the contract."""
        return model_service_pb2.ListModelsResponse(models=models_of(await runners(self._membership)))

    async def ListRunners(
        self, request: model_service_pb2.ListRunnersRequest, context: Any
    ) -> model_service_pb2.ListRunnersResponse:
        """See the contract."""
        check_model(request.model)
        every = [status.runner for status in await runners(self._membership)]
        chosen = [runner for runner in every if not request.model or runner.model == request.model]
        chosen.sort(key=lambda runner: (runner.model, runner.id))
        return model_service_pb2.ListRunnersResponse(runners=chosen)

    async def ListRepository(
        self, request: model_service_pb2.ListRepositoryRequest, context: Any
    ) -> model_service_pb2.ListRepositoryResponse:
        """See the contract."""
        entries = await self._repository.index(ready=request.ready)
        return model_service_pb2.ListRepositoryResponse(entries=entries)

    async def LoadModel(
        self, request: model_service_pb2.LoadModelRequest, context: Any
    ) -> model_service_pb2.LoadModelResponse:
        """See the contract."""
        await self._repository.load(request.model)
        served = await self._repository.index(ready=True)
        return model_service_pb2.LoadModelResponse(
            entries=[entry for entry in served if entry.name == request.model]
        )

    async def UnloadModel(
        self, request: model_service_pb2.UnloadModelRequest, context: Any
    ) -> model_service_pb2.UnloadModelResponse:
        """See the contract."""
        await self._repository.unload(request.model)
        return model_service_pb2.UnloadModelResponse()


def models_of(statuses: Iterable[Status]) -> list[model_service_pb2.Model]:
    """Gather runners by model and version, sorted by them: signature and digest from a runner that read it, READY ones
    first, of those the one that was loaded last.
    """
    versions: dict[tuple[str, int], list[Status]] = {}
    for status in statuses:
        versions.setdefault((status.runner.model, status.runner.version), []).append(status)
    models = []
    for (name, version), group in sorted(versions.items()):
        group.sort(
            key=lambda status: (
                status.runner.state != model_service_pb2.RUNNER_STATE_READY,
                -status.runner.generation,
            )
        )
        model = model_service_pb2.Model()
        for status in group:
            if status.HasField("model"):
                model.CopyFrom(status.model)
                break
        model.name, model.version = name, version
        model.engine = model.engine or max(status.runner.engine for status in group)
        ready = [s.runner for s in group if s.runner.state == model_service_pb2.RUNNER_STATE_READY]
        failed = [s.runner for s in group if s.runner.state == model_service_pb2.RUNNER_STATE_FAILED]
        model.ready_runners = len(ready)
        model.providers[:] = sorted({runner.provider for runner in ready if runner.provider})
        model.failures[:] = sorted({runner.reason for runner in failed if runner.reason})
        models.append(model)
    return models


def model_service(servicer: ModelServicer) -> Service:
    """Return the service, ready to be served."""

    def register(server: grpc.aio.Server) -> None:
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)

    return Service(model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name, register)
