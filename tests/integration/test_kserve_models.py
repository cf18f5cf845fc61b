"""What the KServe door tells of models and of itself, and who may ask."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.compat.kserve import model_config_pb2
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import ReadStatisticsResponse
from services.api_keys import line_of, new_key
from tests.direct_runners import FakeRunner, never
from tests.integration.kserve import (
    EMBED,
    GENERATE,
    TENSOR,
    kserve_door,
    raw_request,
    tensor_model,
    text_model,
)

LOADING = model_service_pb2.RUNNER_STATE_LOADING
FAILED = model_service_pb2.RUNNER_STATE_FAILED


def shapes(tensors: Any) -> list[tuple[str, str, list[int]]]:
    return [(each.name, each.datatype, list(each.shape)) for each in tensors]


async def test_the_server_lives_is_ready_and_names_its_extensions() -> None:
    async with kserve_door() as door:
        assert (await door.stub.ServerLive(kserve.ServerLiveRequest(), timeout=5)).live
        assert (await door.stub.ServerReady(kserve.ServerReadyRequest(), timeout=5)).ready
        told = await door.stub.ServerMetadata(kserve.ServerMetadataRequest(), timeout=5)
    assert told.name == "forebay" and told.version
    assert {"statistics", "sequence", "classification", "model_repository"} <= set(told.extensions)


async def test_a_model_is_ready_when_a_runner_is_and_never_when_nobody_knows_it() -> None:
    ready = tensor_model(version=2)
    loading = FakeRunner("r2", model="slow", state=LOADING)
    async with kserve_door(ready, loading) as door:

        async def is_ready(name: str, version: str = "") -> bool:
            request = kserve.ModelReadyRequest(name=name, version=version)
            return bool((await door.stub.ModelReady(request, timeout=5)).ready)

        assert await is_ready("m") and await is_ready("m", "2")
        assert not await is_ready("m", "3")
        assert not await is_ready("slow")
        assert not await is_ready("none")


async def test_metadata_has_the_batch_dimension_in_front_where_requests_share_runs() -> None:
    batched = tensor_model(
        ("x", "FP32", (3, -1)), outputs=[("y", "BYTES", (1,))], max_batch_size=8, version=2
    )
    older = tensor_model(("x", "FP32", (3, -1)), id="r0", version=1)
    older.model = "m@1"
    async with kserve_door(batched, older) as door:
        latest = await door.stub.ModelMetadata(kserve.ModelMetadataRequest(name="m"), timeout=5)
        first = await door.stub.ModelMetadata(kserve.ModelMetadataRequest(name="m", version="1"), timeout=5)
        call = door.stub.ModelMetadata(kserve.ModelMetadataRequest(name="none"), timeout=5)
        assert (await door.refusal(call))[0] is grpc.StatusCode.NOT_FOUND
    assert (latest.name, list(latest.versions), latest.platform) == ("m", ["1", "2"], "onnxruntime_onnx")
    assert shapes(latest.inputs) == [("x", "FP32", [-1, 3, -1])]
    assert shapes(latest.outputs) == [("y", "BYTES", [-1, 1])]
    assert shapes(first.inputs) == [("x", "FP32", [3, -1])]


async def test_the_configuration_is_that_of_the_runner_completed_by_what_the_model_is() -> None:
    config = model_config_pb2.ModelConfig(name="m", platform="onnxruntime_onnx", max_batch_size=8)
    config.input.add(name="x", data_type="TYPE_FP32", dims=[2])
    given = tensor_model(("x", "FP32", (2,)), max_batch_size=8, config=config.SerializeToString())
    bare = FakeRunner(
        "r2", model="bare", card=model_service_pb2.Model(name="bare", engine=TENSOR, max_batch_size=4)
    )
    assert bare.card is not None
    bare.card.inputs.add(name="t", datatype="BYTES", shape=[1])
    async with kserve_door(given, bare) as door:
        told = (await door.stub.ModelConfig(kserve.ModelConfigRequest(name="m"), timeout=5)).config
        made = (await door.stub.ModelConfig(kserve.ModelConfigRequest(name="bare"), timeout=5)).config
    assert told == config
    assert (made.name, made.platform, made.max_batch_size) == ("bare", "onnxruntime_onnx", 4)
    assert [(each.name, each.data_type, list(each.dims)) for each in made.input] == [
        ("t", model_config_pb2.TYPE_STRING, [1])
    ]


async def test_the_configuration_names_the_model_as_it_is_served_whatever_its_folder_is_called() -> None:
    config = model_config_pb2.ModelConfig(name="folder", platform="onnxruntime_onnx")
    async with kserve_door(tensor_model(config=config.SerializeToString())) as door:
        told = (await door.stub.ModelConfig(kserve.ModelConfigRequest(name="m"), timeout=5)).config
    assert told.name == "m"


async def test_language_and_embedding_models_are_described_as_models_of_tensors() -> None:
    async with kserve_door(text_model(GENERATE, never)) as door:
        told = await door.stub.ModelMetadata(kserve.ModelMetadataRequest(name="m"), timeout=5)
        config = (await door.stub.ModelConfig(kserve.ModelConfigRequest(name="m"), timeout=5)).config
    assert shapes(told.inputs)[0] == ("text_input", "BYTES", [1])
    assert shapes(told.outputs)[0] == ("text_output", "BYTES", [-1])
    assert config.model_transaction_policy.decoupled
    assert {each.name for each in config.input if not each.optional} == {"text_input"}
    async with kserve_door(text_model(EMBED, never, dimensions=384)) as door:
        told = await door.stub.ModelMetadata(kserve.ModelMetadataRequest(name="m"), timeout=5)
    assert shapes(told.outputs) == [("embedding", "FP32", [-1, 384]), ("truncated", "BOOL", [-1])]


async def test_a_model_that_no_runner_has_read_cannot_be_described_yet() -> None:
    unread = FakeRunner("r1", card=model_service_pb2.Model(name="m"), state=LOADING)
    async with kserve_door(unread) as door:
        for method, request in (
            (door.stub.ModelMetadata, kserve.ModelMetadataRequest(name="m")),
            (door.stub.ModelConfig, kserve.ModelConfigRequest(name="m")),
        ):
            code, _ = await door.refusal(method(request, timeout=5))
            assert code is grpc.StatusCode.UNAVAILABLE


class Counting(FakeRunner):
    """Tells what a test says that it counted."""

    counted = ReadStatisticsResponse()

    async def ReadStatistics(self, request: Any, context: Any) -> ReadStatisticsResponse:
        return self.counted


def counting(name: str, inferences: int, executions: int, last_request_ms: int) -> Counting:
    model = tensor_model(id=name)
    runner = Counting(name, card=model.card)
    counted = ReadStatisticsResponse(
        inferences=inferences, executions=executions, last_request_ms=last_request_ms
    )
    counted.success.count, counted.success.ns = 2, 500
    counted.queue.count = 2
    counted.batches.add(rows=1).compute_infer.count = 1
    counted.batches.add(rows=inferences).compute_infer.count = 3
    runner.counted = counted
    return runner


async def test_statistics_are_summed_over_the_runners_of_a_model_before_anybody_called_it() -> None:
    runners = [
        counting("r1", inferences=4, executions=2, last_request_ms=10),
        counting("r2", inferences=6, executions=3, last_request_ms=30),
    ]
    async with kserve_door(*runners) as door:
        request = kserve.ModelStatisticsRequest(name="m")
        (told,) = (await door.stub.ModelStatistics(request, timeout=10)).model_stats
        (same,) = (await door.stub.ModelStatistics(kserve.ModelStatisticsRequest(), timeout=10)).model_stats
        request.version = "1"
        (by_version,) = (await door.stub.ModelStatistics(request, timeout=10)).model_stats
        for name, version in (("none", ""), ("m", "2")):
            request = kserve.ModelStatisticsRequest(name=name, version=version)
            code, _ = await door.refusal(door.stub.ModelStatistics(request, timeout=10))
            assert code is grpc.StatusCode.NOT_FOUND
    assert told == same == by_version
    assert (told.name, told.version, told.last_inference) == ("m", "1", 30)
    assert (told.inference_count, told.execution_count) == (10, 5)
    stats = told.inference_stats
    assert (stats.success.count, stats.success.ns, stats.queue.count) == (4, 1000, 4)
    assert stats.HasField("fail") and stats.HasField("cache_hit")
    sizes = [(each.batch_size, each.compute_infer.count) for each in told.batch_stats]
    assert sizes == [(1, 2), (4, 3), (6, 3)]


async def test_the_index_lists_what_is_announced_and_what_no_repository_holds_cannot_be_loaded() -> None:
    failed = FakeRunner("r3", model="bad", state=FAILED, version=3)
    failed.card = model_service_pb2.Model(name="bad", failures=["no such file"])
    async with kserve_door(tensor_model(), FakeRunner("r2", model="slow", state=LOADING), failed) as door:
        index = await door.stub.RepositoryIndex(kserve.RepositoryIndexRequest(), timeout=5)
        ready = await door.stub.RepositoryIndex(kserve.RepositoryIndexRequest(ready=True), timeout=5)
        for method, request in (
            (door.stub.RepositoryModelLoad, kserve.RepositoryModelLoadRequest(model_name="m")),
            (door.stub.RepositoryModelUnload, kserve.RepositoryModelUnloadRequest(model_name="m")),
        ):
            assert (await door.refusal(method(request, timeout=5)))[0] is grpc.StatusCode.NOT_FOUND
            request.parameters["config"].string_param = "{}"
            code, details = await door.refusal(method(request, timeout=5))
            assert code is grpc.StatusCode.INVALID_ARGUMENT and "config" in details
            request.repository_name = "r"
            code, details = await door.refusal(method(request, timeout=5))
            assert code is grpc.StatusCode.INVALID_ARGUMENT and "repository_name" in details
            code, details = await door.refusal(method(type(request)(), timeout=5))
            assert code is grpc.StatusCode.INVALID_ARGUMENT and "model_name" in details
    assert [(each.name, each.version, each.state) for each in index.models] == [
        ("bad", "3", "UNAVAILABLE"),
        ("m", "1", "READY"),
        ("slow", "1", "LOADING"),
    ]
    assert [each.name for each in ready.models] == ["m"]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        *((f"{kind}SharedMemoryStatus", "share no memory") for kind in ("System", "Cuda")),
        *((f"{kind}SharedMemoryRegister", "share no memory") for kind in ("System", "Cuda")),
        *((f"{kind}SharedMemoryUnregister", "share no memory") for kind in ("System", "Cuda")),
        ("TraceSetting", "OpenTelemetry"),
        ("LogSettings", "logging"),
    ],
)
async def test_what_is_not_done_here_is_refused_with_its_reason(method: str, words: str) -> None:
    async with kserve_door() as door:
        request = getattr(kserve, f"{method}Request")()
        code, details = await door.refusal(getattr(door.stub, method)(request, timeout=5))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert words in details


async def test_only_probes_pass_without_a_key_and_only_operators_load(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    user_key, operator_key = new_key(), new_key()
    keys.write_text(f"{line_of(user_key, 'acme')}\n{line_of(operator_key, 'ops', operator=True)}\n")
    runner = tensor_model()
    async with kserve_door(runner, keys=keys) as door:
        assert (await door.stub.ServerLive(kserve.ServerLiveRequest(), timeout=5)).live
        assert (await door.stub.ServerReady(kserve.ServerReadyRequest(), timeout=5)).ready
        assert (await door.stub.ServerMetadata(kserve.ServerMetadataRequest(), timeout=5)).name
        for call in (
            door.stub.ModelReady(kserve.ModelReadyRequest(name="m"), timeout=5),
            door.stub.ModelInfer(raw_request(), timeout=5),
            door.stub.RepositoryIndex(kserve.RepositoryIndexRequest(), timeout=5),
        ):
            assert (await door.refusal(call))[0] is grpc.StatusCode.UNAUTHENTICATED
        user = (("authorization", f"Bearer {user_key}"),)
        await door.infer(raw_request(), metadata=user)
        load = kserve.RepositoryModelLoadRequest(model_name="m")
        call = door.stub.RepositoryModelLoad(load, timeout=5, metadata=user)
        assert (await door.refusal(call))[0] is grpc.StatusCode.PERMISSION_DENIED
        operator = (("authorization", f"Bearer {operator_key}"),)
        call = door.stub.RepositoryModelLoad(load, timeout=5, metadata=operator)
        assert (await door.refusal(call))[0] is grpc.StatusCode.NOT_FOUND
    assert runner.calls[0].tenant == "acme"
