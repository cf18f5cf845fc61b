"""A model repository in Triton's layout, as operators meet it: versions, loading, unloading, folders that change."""

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from forebay.client import Client, FailedPrecondition, NotFound, RetryPolicy, TaskState, Unavailable
from forebay.compat.kserve import kserve_service_pb2, kserve_service_pb2_grpc
from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from tests.system import System, forebay_up, run_cli, run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LONGEST_WAIT_S = 45.0
NEVER_AGAIN = RetryPolicy(attempts=1)
CONFIG = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]
dynamic_batching { }
version_policy { all { } }
"""


def save_scale(folder: Path, version: int, factor: float) -> None:
    """Write y = factor * x, FP32 [batch, 2], and let it appear as one change."""
    place = folder / str(version)
    place.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    new = place / ".new"
    onnx.save(model, new)
    new.rename(place / "model.onnx")


def save_versions(folder: Path, *versions: int) -> None:
    """Write a model whose versions multiply by their numbers, with a configuration and labels."""
    for version in versions:
        save_scale(folder, version, version)
    (folder / "labels.txt").write_text("left\nright\n")
    (folder / "config.pbtxt").write_text(CONFIG)


@pytest.fixture(scope="module")
def repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="forebay-models-") as folder:
        save_versions(Path(folder) / "scale", 1, 2)
        yield Path(folder)


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[System]:
    with (
        tempfile.TemporaryDirectory(prefix="forebay-repository-") as data,
        forebay_up(Path(data), {}, arguments=("--model-repository", str(repository))) as running,
    ):
        with Client(running.grpc) as patient:
            until(lambda: answers(patient, "scale@1") and answers(patient, "scale"))
        yield running


@pytest.fixture
def client(served: System) -> Iterator[Client]:
    with Client(served.grpc, retry=NEVER_AGAIN) as opened:
        yield opened


def factor_of(client: Client, model: str) -> float:
    """Return by what a model multiplies."""
    answer = client.infer(model, {"x": np.ones((1, 2), np.float32)})
    return float(answer.tensors["y"][0, 0])


def answers(client: Client, model: str) -> bool:
    """Tell whether a model can be called: a gateway looks twice a second who is there."""
    try:
        factor_of(client, model)
    except (NotFound, Unavailable):
        return False
    return True


def states(client: Client, model: str) -> dict[int, tuple[str, str]]:
    """Return state and reason of each version of a model."""
    return {one.version: (one.state, one.reason) for one in client.repository.list() if one.model == model}


def until(condition: Callable[[], bool]) -> None:
    """Look until a condition is met: what happens in other processes has no event here."""
    end_s = time.monotonic() + LONGEST_WAIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.1)


@contextmanager
def constant_load(address: str, model: str, pause_s: float = 0.0) -> Iterator[list[float]]:
    """Call a model from several threads, and submit tasks for it, until the block ends; yields what it answered. With a
    pause after each.

    Fails when a call or a task is refused, lost or fails: nothing is tried twice.
    """
    factors: list[float] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def call() -> None:
        try:
            with Client(address, retry=NEVER_AGAIN) as client:
                while not stop.is_set():
                    factors.append(factor_of(client, model))
                    stop.wait(pause_s)
        except BaseException as error:
            failures.append(error)

    def submit() -> None:
        try:
            with Client(address, retry=NEVER_AGAIN) as client:
                while not stop.is_set():
                    handle = client.submit(model, tensors={"x": np.ones((1, 2), np.float32)})
                    assert client.wait(handle, LONGEST_WAIT_S).state is TaskState.SUCCEEDED
                    stop.wait(pause_s)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=target) for target in (call, call, call, submit)]
    for thread in threads:
        thread.start()
    try:
        yield factors
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONGEST_WAIT_S)
    assert failures == []
    assert len(factors) > 10


def test_the_highest_version_answers_to_the_name_and_each_to_its_number_on_both_ways(
    client: Client, served: System
) -> None:
    assert [factor_of(client, name) for name in ("scale", "scale@1", "scale@2")] == [2.0, 1.0, 2.0]
    ones = np.ones((1, 2), np.float32)
    tasks = [client.submit(name, tensors={"x": ones}) for name in ("scale", "scale@1", "scale@2")]
    answers = [client.wait(task, LONGEST_WAIT_S) for task in tasks]
    assert [float(answer.tensors["y"][0, 0]) for answer in answers] == [2.0, 1.0, 2.0]
    assert [(one.name, one.version) for one in client.models()] == [("scale", 1), ("scale", 2)]
    listed = run_json(served.grpc, "models", "repository")
    assert isinstance(listed, list)
    assert [(one["model"], one["version"], one["state"]) for one in listed] == [
        ("scale", 1, "ready"),
        ("scale", 2, "ready"),
    ]


def test_a_changed_folder_is_loaded_beside_what_serves_and_takes_over_without_a_gap(
    client: Client, served: System, repository: Path
) -> None:
    save_versions(repository / "hot", 1)
    until(lambda: states(client, "hot").get(1) == ("ready", "") and answers(client, "hot"))
    with constant_load(served.grpc, "hot") as factors:
        until(lambda: len(factors) > 20)
        save_scale(repository / "hot", 1, 7.0)
        until(lambda: factors[-1] == 7.0 and len(client.runners("hot")) == 1)
    # Old and new answer for a moment together, then only the new one.
    assert set(factors) == {1.0, 7.0}
    assert factors[0] == 1.0
    changes = [key for key, _ in itertools.groupby(factors)]
    assert changes[-1] == 7.0


def test_a_load_by_hand_takes_over_without_a_gap_too_and_only_the_new_runners_answer_then(
    client: Client, served: System
) -> None:
    before = {one.id for one in client.runners("scale")}
    with constant_load(served.grpc, "scale"):
        loaded = run_cli(served.grpc, "models", "load", "scale")
        assert loaded.returncode == 0, loaded.stderr
        assert "scale is served, version 1, 2" in loaded.stdout
        ready = {one.id for one in client.runners("scale") if one.state == "ready"}
        assert len(ready) == 2
        assert not ready & before


def test_the_name_goes_over_to_a_higher_version_and_back_when_it_is_gone(
    client: Client, served: System, repository: Path
) -> None:
    folder = repository / "growing"
    save_versions(folder, 1)
    until(lambda: answers(client, "growing") and answers(client, "growing@1"))

    def by_task(model: str) -> float:
        handle = client.submit(model, tensors={"x": np.ones((1, 2), np.float32)})
        return float(client.wait(handle, LONGEST_WAIT_S).tensors["y"][0, 0])

    def settled(*versions: int) -> bool:
        """Tell whether these versions are served, each by one runner and by no other."""
        found = [(one.version, one.state) for one in client.runners("growing")]
        return sorted(found) == [(version, "ready") for version in versions]

    with (
        constant_load(served.grpc, "growing@1", pause_s=0.1) as numbered,
        constant_load(served.grpc, "growing", pause_s=0.1) as factors,
    ):
        until(lambda: min(len(numbered), len(factors)) > 5)
        save_scale(folder, 2, 2.0)
        until(lambda: factors[-1] == 2.0 and settled(1, 2))
        # What was called by the name alone is 2 now on both ways, and 1 is 1 still.
        assert [by_task(name) for name in ("growing", "growing@1", "growing@2")] == [2.0, 1.0, 2.0]
        assert [factor_of(client, name) for name in ("growing", "growing@1")] == [2.0, 1.0]
        shutil.rmtree(folder / "2")
        until(lambda: factors[-1] == 1.0 and settled(1))
        assert [by_task(name) for name in ("growing", "growing@1")] == [1.0, 1.0]
        until(lambda: not answers(client, "growing@2"))
    assert set(numbered) == {1.0}
    assert set(factors) == {1.0, 2.0}


def test_a_broken_new_version_leaves_the_old_ones_serving_and_the_reason_is_shown(
    client: Client, served: System, repository: Path
) -> None:
    broken = repository / "scale" / "3"
    broken.mkdir()
    try:
        (broken / "model.onnx").write_bytes(b"not a model")
        until(lambda: states(client, "scale").get(3, ("", ""))[0] == "failed")
        found = states(client, "scale")
        assert found[1] == found[2] == ("ready", "")
        assert "model.onnx" in found[3][1]
        assert factor_of(client, "scale") == 2.0
        with pytest.raises(FailedPrecondition, match=r"model\.onnx"):
            client.repository.load("scale")
        assert factor_of(client, "scale") == 2.0
        assert "model.onnx" in run_cli(served.grpc, "models", "repository").stdout
    finally:
        shutil.rmtree(broken)
    until(lambda: states(client, "scale") == {1: ("ready", ""), 2: ("ready", "")})


def test_a_configuration_with_a_fault_is_shown_with_its_place_and_changes_nothing_that_serves(
    client: Client, repository: Path
) -> None:
    config = repository / "scale" / "config.pbtxt"
    config.write_text(CONFIG + "max_batch_size: -1\n")
    try:
        until(lambda: "config.pbtxt:" in states(client, "scale")[2][1])
        assert states(client, "scale")[2][0] == "ready"
        assert factor_of(client, "scale@1") == 1.0
    finally:
        config.write_text(CONFIG)
    until(lambda: states(client, "scale") == {1: ("ready", ""), 2: ("ready", "")})


def test_folders_that_come_and_go_are_served_and_not(client: Client, repository: Path) -> None:
    save_versions(repository / "guest", 4)
    until(lambda: states(client, "guest").get(4) == ("ready", ""))
    until(lambda: any(one.model == "guest" and one.state == "ready" for one in client.runners()))
    client.repository.load("guest")
    assert factor_of(client, "guest") == 4.0
    shutil.rmtree(repository / "guest")
    until(lambda: not states(client, "guest") and not client.runners("guest"))
    with pytest.raises(NotFound):
        client.repository.load("guest")


def test_a_version_policy_takes_effect_when_it_changes(client: Client, repository: Path) -> None:
    save_versions(repository / "policy", 1, 2, 3)
    config = repository / "policy" / "config.pbtxt"
    config.write_text(CONFIG.replace("all { }", "latest { num_versions: 1 }"))
    client.repository.load("policy")
    found = states(client, "policy")
    assert [found[version][0] for version in (1, 2, 3)] == ["", "", "ready"]
    assert "version policy" in found[1][1]
    config.write_text(CONFIG.replace("all { }", "specific { versions: [ 1, 2 ] }"))
    assert [one.version for one in client.repository.load("policy")] == [1, 2]
    assert [factor_of(client, name) for name in ("policy", "policy@1")] == [2.0, 1.0]
    with pytest.raises(NotFound):
        # While its runner goes, gateways that know it still say that it is not ready.
        while True:
            with suppress(Unavailable):
                factor_of(client, "policy@3")
                break


def test_unloading_ends_the_processes_and_tasks_wait_until_it_is_loaded_again(
    client: Client, served: System
) -> None:
    pids = [one.pid for one in client.runners("scale")]
    done = run_cli(served.grpc, "models", "unload", "scale")
    assert done.returncode == 0, done.stderr
    assert client.runners("scale") == []
    assert not {process.pid for process in served.children()} & set(pids)
    assert states(client, "scale") == {1: ("", "not loaded"), 2: ("", "not loaded")}
    with pytest.raises(NotFound):
        factor_of(client, "scale")
    tasks = [client.submit(name, tensors={"x": np.ones((1, 2), np.float32)}) for name in ("scale", "scale@1")]
    for task in tasks:
        until(lambda task=task: "no_runner" in [one.kind for one in client.explain(task).reasons])  # type: ignore[misc]
    assert client.get(tasks[0]).state is TaskState.QUEUED
    # What operators unloaded stays so until they load it.
    with grpc.insecure_channel(served.grpc) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        answer = stub.LoadModel(model_service_pb2.LoadModelRequest(model="scale"), timeout=LONGEST_WAIT_S)
        assert [(one.version, one.state) for one in answer.entries] == [
            (1, model_service_pb2.RUNNER_STATE_READY),
            (2, model_service_pb2.RUNNER_STATE_READY),
        ]
        with pytest.raises(grpc.RpcError) as missing:
            stub.UnloadModel(model_service_pb2.UnloadModelRequest(model="nobody"), timeout=LONGEST_WAIT_S)
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    assert factor_of(client, "scale") == 2.0
    ended = [client.wait(task, LONGEST_WAIT_S) for task in tasks]
    assert [float(task.tensors["y"][0, 0]) for task in ended] == [2.0, 1.0]


def test_the_repository_calls_of_kserve_do_the_same(client: Client, served: System, repository: Path) -> None:
    save_versions(repository / "kserve", 5)
    with grpc.insecure_channel(served.grpc) as channel:
        stub = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def index() -> list[tuple[str, str]]:
            answer = stub.RepositoryIndex(kserve_service_pb2.RepositoryIndexRequest(), timeout=LONGEST_WAIT_S)
            return [(one.version, one.state) for one in answer.models if one.name == "kserve"]

        load = kserve_service_pb2.RepositoryModelLoadRequest(model_name="kserve")
        stub.RepositoryModelLoad(load, timeout=LONGEST_WAIT_S)
        assert index() == [("5", "READY")]
        assert factor_of(client, "kserve") == 5.0
        unload = kserve_service_pb2.RepositoryModelUnloadRequest(model_name="kserve")
        stub.RepositoryModelUnload(unload, timeout=LONGEST_WAIT_S)
        assert [state for _, state in index()] == ["UNAVAILABLE"]
        assert client.runners("kserve") == []


def test_with_explicit_control_nothing_is_loaded_until_an_operator_says_so(tmp_path: Path) -> None:
    save_versions(tmp_path / "scale", 1)
    arguments = ("--model-repository", str(tmp_path), "--model-control", "explicit")
    with (
        tempfile.TemporaryDirectory(prefix="forebay-explicit-") as data,
        forebay_up(Path(data), {}, arguments=arguments) as system,
        Client(system.grpc, retry=NEVER_AGAIN) as client,
    ):
        assert states(client, "scale") == {1: ("", "not loaded")}
        assert client.runners() == []
        assert [one.version for one in client.repository.load("scale")] == [1]
        assert factor_of(client, "scale") == 1.0
        system.kill("agent")
        # What was loaded by hand is loaded by the next agent too.
        until(lambda: any(one.state == "ready" for one in client.runners("scale")))
