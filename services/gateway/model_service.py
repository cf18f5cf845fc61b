"""ModelService: which models the fleet serves, as the runners announce themselves."""

from collections.abc import Iterable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from forebay.runner.v1 import runner_service_pb2
from scheduler.ports.membership import RUNNER_ROLE, Membership
from services.gateway.request_validation import check_model
from services.lifecycle import Service

Status = runner_service_pb2.WatchStatusResponse


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Called by gRPC; errors that leave a method become statuses in `services/interceptor.py`."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Any
    ) -> model_service_pb2.ListModelsResponse:
        """See the contract."""
        return model_service_pb2.ListModelsResponse(models=models_of(await self._statuses()))

    async def ListRunners(
        self, request: model_service_pb2.ListRunnersRequest, context: Any
    ) -> model_service_pb2.ListRunnersResponse:
        """See the contract."""
        check_model(request.model)
        runners = [status.runner for status in await self._statuses()]
        chosen = [runner for runner in runners if not request.model or runner.model == request.model]
        chosen.sort(key=lambda runner: (runner.model, runner.id))
        return model_service_pb2.ListRunnersResponse(runners=chosen)

    async def _statuses(self) -> list[Status]:
        statuses = []
        for _, card in await self._membership.members(RUNNER_ROLE):
            try:
                statuses.append(Status.FromString(card))
            except DecodeError:  # one bad card must not hide the others
                continue
        return statuses


def models_of(statuses: Iterable[Status]) -> list[model_service_pb2.Model]:
    """Gather runners by model, sorted by name: signature and digest from a runner that read it, READY ones first."""
    by_name: dict[str, list[Status]] = {}
    for status in statuses:
        by_name.setdefault(status.runner.model, []).append(status)
    models = []
    for name, group in sorted(by_name.items()):
        group.sort(key=lambda status: status.runner.state != model_service_pb2.RUNNER_STATE_READY)
        model = model_service_pb2.Model()
        for status in group:
            if status.HasField("model"):
                model.CopyFrom(status.model)
                break
        model.name = name
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
