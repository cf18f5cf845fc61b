"""The doors that need nothing of ours on the other side: gRPC reflection, generated stubs, HTTP."""

import base64
import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.tasks.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc
from tests.system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

X = np.array([[1, 2, 3, 4]], np.float32)
ADD = {
    "model": "add",
    "tensors": {
        "tensors": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [1, 4],
                "raw": base64.b64encode(X.tobytes()).decode(),
            }
        ]
    },
}
"""A TaskSpec in proto3 JSON."""

Grpcurl = Callable[..., str]
"""Runs grpcurl on the shared system's address; `body` is the JSON of the request."""


@pytest.fixture
def ask(grpcurl: str, system: System) -> Grpcurl:
    def run(*words: str, body: object = None) -> str:
        data = () if body is None else ("-d", json.dumps(body))
        done = subprocess.run(
            [grpcurl, "-plaintext", *data, system.grpc, *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def add_spec(**fields: object) -> task_pb2.TaskSpec:
    return ParseDict({**ADD, **fields}, task_pb2.TaskSpec())


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_grpcurl_lists_every_service_without_a_proto_file(ask: Grpcurl) -> None:
    assert ask("list").split() == [
        "forebay.cache.v1.CacheService",
        "forebay.inference.v1.InferenceService",
        "forebay.models.v1.ModelService",
        "forebay.queues.v1.QueueService",
        "forebay.tasks.v1.ScheduleService",
        "forebay.tasks.v1.TaskService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]


def test_grpcurl_describes_a_service_and_a_message(ask: Grpcurl) -> None:
    service = ask("describe", "forebay.tasks.v1.TaskService")
    for method in ("SubmitTasks", "GetTask", "ListTasks", "WatchTasks", "StreamOutput", "CancelTasks"):
        assert f"rpc {method} (" in service
    assert "returns ( stream .forebay.tasks.v1.WatchTasksResponse )" in service
    assert ".forebay.tasks.v1.GenerateInput generate = 2;" in ask("describe", "forebay.tasks.v1.TaskSpec")


def test_grpcurl_submits_watches_and_gets_a_task(ask: Grpcurl) -> None:
    accepted = json.loads(ask("forebay.tasks.v1.TaskService/SubmitTasks", body={"tasks": [ADD]}))
    task_id = accepted["results"][0]["task"]["id"]
    ask("forebay.tasks.v1.TaskService/WatchTasks", body={"tasks": {"ids": [task_id]}})
    task = json.loads(ask("forebay.tasks.v1.TaskService/GetTask", body={"id": task_id}))["task"]
    assert task["state"] == "TASK_STATE_SUCCEEDED"
    y = task["result"]["tensors"]["tensors"][0]
    assert (y["name"], y["shape"]) == ("y", ["1", "4"])
    assert np.frombuffer(base64.b64decode(y["raw"]), "<f4").tolist() == [2, 4, 6, 8]


def test_grpcurl_asks_every_service_for_its_health(ask: Grpcurl) -> None:
    for service in ("", "forebay.tasks.v1.TaskService", "forebay.queues.v1.QueueService"):
        answer = json.loads(ask("grpc.health.v1.Health/Check", body={"service": service}))
        assert answer == {"status": "SERVING"}


def test_reflection_is_on_the_scheduler_the_agent_and_the_runners_too(
    grpcurl: str, system: System, channel: grpc.Channel
) -> None:
    runners = model_service_pb2_grpc.ModelServiceStub(channel).ListRunners(
        model_service_pb2.ListRunnersRequest(), timeout=10
    )
    doors = {
        system.child("scheduler.service").environ()[
            "FOREBAY_SCHEDULER_LISTEN"
        ]: "forebay.dispatch.v1.DispatchService",
        system.child("inference.agent").environ()["FOREBAY_AGENT_LISTEN"]: "grpc.health.v1.Health",
        **{runner.address: "forebay.runner.v1.RunnerService" for runner in runners.runners},
    }
    assert len(doors) == 2 + len(runners.runners)
    for address, service in doors.items():
        command = [grpcurl, "-plaintext", "-connect-timeout", "5", address, "list"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert service in done.stdout.split(), (address, done.stderr)


def test_stubs_submit_watch_and_get(channel: grpc.Channel) -> None:
    tasks = task_service_pb2_grpc.TaskServiceStub(channel)
    specs = [add_spec(labels={"door": "stubs"}, priority=f"PRIORITY_{name}") for name in ("CRITICAL", "LOW")]
    accepted = tasks.SubmitTasks(task_service_pb2.SubmitTasksRequest(tasks=specs), timeout=10)
    ids = [result.task.id for result in accepted.results]
    ended = {
        task.id: task
        for batch in tasks.WatchTasks(
            task_service_pb2.WatchTasksRequest(tasks=task_service_pb2.TaskIds(ids=ids), include_result=True),
            timeout=20,
        )
        for task in batch.tasks
    }
    assert {ended[id_].state for id_ in ids} == {task_pb2.TASK_STATE_SUCCEEDED}
    assert np.frombuffer(ended[ids[0]].result.tensors.tensors[0].raw, "<f4").tolist() == [2, 4, 6, 8]

    task = tasks.GetTask(task_service_pb2.GetTaskRequest(id=ids[1], include_input=True), timeout=10).task
    assert task.spec.tensors == specs[1].tensors
    assert (task.spec.priority, dict(task.spec.labels)) == (task_pb2.PRIORITY_LOW, {"door": "stubs"})
    assert [event.state for event in task.events] == [
        task_pb2.TASK_STATE_QUEUED,
        task_pb2.TASK_STATE_RUNNING,
        task_pb2.TASK_STATE_SUCCEEDED,
    ]
    assert (
        task.create_time.ToNanoseconds() <= task.start_time.ToNanoseconds() <= task.end_time.ToNanoseconds()
    )
    assert task.attempt == 1 and task.publication == 1 and task.runner


def test_stubs_list_page_by_page_newest_first_while_new_tasks_arrive(channel: grpc.Channel) -> None:
    tasks = task_service_pb2_grpc.TaskServiceStub(channel)
    submit = task_service_pb2.SubmitTasksRequest(tasks=[add_spec(labels={"page": "yes"})] * 5)
    ids = [result.task.id for result in tasks.SubmitTasks(submit, timeout=10).results]
    request = task_service_pb2.ListTasksRequest(page_size=2)
    request.filter.labels["page"] = "yes"

    def pages() -> Iterator[list[str]]:
        while True:
            page = tasks.ListTasks(request, timeout=10)
            yield [task.id for task in page.tasks]
            if not page.next_page_token:
                return
            tasks.SubmitTasks(submit, timeout=10)
            request.page_token = page.next_page_token

    listed = [id_ for page in pages() for id_ in page]
    assert len(listed) == len(set(listed)) and set(listed) == set(ids)


def test_stubs_see_queues_models_and_runners(channel: grpc.Channel) -> None:
    queues = queue_service_pb2_grpc.QueueServiceStub(channel).ListQueues(
        queue_service_pb2.ListQueuesRequest(pool="default"), timeout=10
    )
    assert [queue.priority for queue in queues.queues] == [1, 2, 3, 4]
    assert sum(queue.share for queue in queues.queues) == pytest.approx(1)

    fleet = model_service_pb2_grpc.ModelServiceStub(channel)
    models = {m.name: m for m in fleet.ListModels(model_service_pb2.ListModelsRequest(), timeout=10).models}
    assert list(models) == ["add", "countdown", "picky"]
    add = models["add"]
    assert (add.engine, add.ready_runners, list(add.providers)) == (1, 1, ["CPUExecutionProvider"])
    assert [(i.name, i.datatype, list(i.shape)) for i in add.inputs] == [("x", "FP32", [-1, 4])]
    (runner,) = fleet.ListRunners(model_service_pb2.ListRunnersRequest(model="countdown"), timeout=10).runners
    assert runner.state == model_service_pb2.RUNNER_STATE_READY and runner.pid > 0


def test_health_can_be_watched(channel: grpc.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_http_tells_probes_and_prometheus(system: System, channel: grpc.Channel) -> None:
    assert get(f"http://{system.http}/healthz") == "ok\n"
    assert get(f"http://{system.http}/readyz") == "ready\n"

    def submitted() -> float:
        families = text_string_to_metric_families(get(f"http://{system.http}/metrics"))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "forebay_tasks_submitted_total" and sample.labels["level"] == "high"
        )

    before = submitted()
    request = task_service_pb2.SubmitTasksRequest(tasks=[add_spec(priority="PRIORITY_HIGH")] * 3)
    task_service_pb2_grpc.TaskServiceStub(channel).SubmitTasks(request, timeout=10)
    assert submitted() - before == 3
