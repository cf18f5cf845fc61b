from collections.abc import AsyncIterator

import grpc.aio
import pytest

from forebay.models.v1 import model_service_pb2 as models
from forebay.models.v1.model_service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from services.cli.up import fleet
from services.cli.up.fleet import Fleet

Look = list[models.Runner]


def runner(id_: str, model: str, state: models.RunnerState.ValueType, reason: str = "") -> models.Runner:
    return models.Runner(id=id_, model=model, state=state, reason=reason, provider="CPU", capacity=4)


class Gateway(ModelServiceServicer):
    """Answers each look with the next of a list, and with the last one from then on."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self.loading: list[list[models.RepositoryEntry]] = []
        """What is loaded at each look, beside what the runners say."""

    async def ListModels(
        self, request: models.ListModelsRequest, context: object
    ) -> models.ListModelsResponse:
        return models.ListModelsResponse()

    async def ListRepository(
        self, request: models.ListRepositoryRequest, context: object
    ) -> models.ListRepositoryResponse:
        return models.ListRepositoryResponse(entries=self.loading.pop(0) if self.loading else ())

    async def LoadModel(self, request: models.LoadModelRequest, context: object) -> models.LoadModelResponse:
        return models.LoadModelResponse()

    async def UnloadModel(
        self, request: models.UnloadModelRequest, context: object
    ) -> models.UnloadModelResponse:
        return models.UnloadModelResponse()

    async def ListRunners(
        self, request: models.ListRunnersRequest, context: object
    ) -> models.ListRunnersResponse:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return models.ListRunnersResponse(runners=look)


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[Gateway, str]]:
    server = grpc.aio.server()
    servicer = Gateway()
    add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "STARTING_PAUSE_S", 0.0)


async def test_it_waits_until_every_model_is_ready_or_failed_and_tells_each_step_once(
    gateway: tuple[Gateway, str],
) -> None:
    servicer, address = gateway
    loading = runner("1", "a", models.RUNNER_STATE_LOADING)
    ready = runner("1", "a", models.RUNNER_STATE_READY)
    failed = runner("2", "b", models.RUNNER_STATE_FAILED, "no such file")
    servicer.looks = [[], [loading], [loading, failed], [ready, failed]]
    said: list[str] = []
    watch = Fleet(address, ["a", "b"], lambda who, text: said.append(f"{who}: {text}"))
    await watch.settled()
    assert said == [
        "a: loading, pid 0",
        "b: cannot be served: no such file",
        "a: ready on CPU, 4 at once, loaded in 0.0 s",
    ]
    assert watch.failed == ["b"]
    assert watch.shortfall() == "1 of 2 models cannot be served: b"


async def test_it_waits_for_all_versions_of_a_model(gateway: tuple[Gateway, str]) -> None:
    servicer, address = gateway
    servicer.looks = [[runner("1", "a", models.RUNNER_STATE_READY)]]
    second = models.RepositoryEntry(name="a", version=2, state=models.RUNNER_STATE_WARMING)
    servicer.loading = [[second], [second]]
    watch = fleet.Fleet(address, ["a"], lambda name, text: None)
    await watch.settled()
    assert servicer.loading == []
    assert watch.shortfall() == ""


async def test_a_model_that_fails_again_for_the_same_reason_is_told_once(
    gateway: tuple[Gateway, str],
) -> None:
    servicer, address = gateway
    failed = models.RUNNER_STATE_FAILED
    loading = runner("2", "a", models.RUNNER_STATE_LOADING)
    servicer.looks = [
        [runner("1", "a", failed, "no weights"), runner("9", "b", models.RUNNER_STATE_LOADING)],
        [loading],
        [runner("2", "a", failed, "no weights")],
        [loading],
        [runner("3", "a", failed, "no disk"), runner("9", "b", models.RUNNER_STATE_READY)],
    ]
    said: list[str] = []
    await Fleet(address, ["a", "b"], lambda who, text: said.append(f"{who}: {text}")).settled()
    assert [line for line in said if line.startswith("a:")] == [
        "a: cannot be served: no weights",
        "a: cannot be served: no disk",
    ]


async def test_the_furthest_of_several_runners_speaks_for_its_model(gateway: tuple[Gateway, str]) -> None:
    servicer, address = gateway
    servicer.looks = [
        [runner("1", "a", models.RUNNER_STATE_FAILED, "x"), runner("2", "a", models.RUNNER_STATE_READY)]
    ]
    watch = Fleet(address, ["a"], lambda who, text: None)
    await watch.settled()
    assert watch.failed == []
    assert watch.shortfall() == ""


async def test_a_model_whose_runners_keep_dying_is_not_waited_for_for_ever(
    gateway: tuple[Gateway, str],
) -> None:
    servicer, address = gateway
    servicer.looks = [[runner(str(n), "a", models.RUNNER_STATE_LOADING)] for n in range(10)]
    said: list[str] = []
    watch = Fleet(address, ["a"], lambda who, text: said.append(text))
    await watch.settled()
    assert said[-1].startswith("cannot be served yet")
    assert watch.failed == ["a"]


async def test_a_model_without_any_runner_is_not_waited_for_for_ever(
    gateway: tuple[Gateway, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, address = gateway
    monkeypatch.setattr(fleet, "NO_RUNNER_S", 0.01)
    servicer.looks = [[]]
    watch = Fleet(address, ["a"], lambda who, text: None)
    await watch.settled()
    assert watch.failed == ["a"]


async def test_without_models_there_is_nothing_to_wait_for(free_ports: list[int]) -> None:
    await Fleet(f"127.0.0.1:{free_ports[0]}", [], lambda who, text: None).settled()
