"""Bad input for every field of every request, through the real gateway: one table for each kind of request.

What cannot be right for any model is refused by the gateway; what does not fit a model ends the task at its runner.
Long, because it is tables.
"""

import math
import struct
from collections.abc import Callable
from typing import Any, Final

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from forebay.client import Client, TaskState, task_spec
from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.tasks.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc
from forebay.tasks.v1.inputs_pb2 import (
    ChatMessage,
    ChatMessages,
    ContentPart,
    GenerateInput,
    ResponseFormat,
    Tensor,
    TensorInput,
)
from forebay.tasks.v1.task_pb2 import RetryPolicy, TaskSpec
from forebay.tasks.v1.task_service_pb2 import LabelSelector, TaskFilter, TaskIds
from scheduler.ids import new_ids

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DETAILS_KEY: Final = "grpc-status-details-bin"
X: Final = np.array([[1, 2, 3, 4]], np.float32)
ABSENT: Final = new_ids(7, 1, 0)[0]
"""An id that could be a task's, and is none's."""
MANY: Final = {f"label-{n}": "" for n in range(33)}

Change = Callable[[TaskSpec], object]


def generate(**fields: Any) -> Change:
    return lambda spec: spec.generate.CopyFrom(GenerateInput(**{"prompt": "hello", **fields}))


def chat(*messages: ChatMessage) -> Change:
    return lambda spec: spec.generate.CopyFrom(GenerateInput(messages=ChatMessages(messages=messages)))


def held_to(**given: Any) -> Change:
    return generate(response_format=ResponseFormat(**given))


def tensors(*given: Tensor) -> Change:
    return lambda spec: spec.tensors.CopyFrom(TensorInput(tensors=given))


def x(**fields: Any) -> Tensor:
    return Tensor(**{"name": "x", "datatype": "FP32", "shape": [1, 4], "raw": X.tobytes(), **fields})


def put(**fields: Any) -> Change:
    return lambda spec: spec.MergeFrom(TaskSpec(**fields))


def deadline(seconds: int, nanos: int = 0) -> Change:
    def change(spec: TaskSpec) -> None:
        spec.deadline.seconds, spec.deadline.nanos = seconds, nanos

    return change


def unset(field: Any) -> Change:
    return lambda spec: spec.ClearField(field)


HELLO: Final = ChatMessage(role="user", parts=[ContentPart(text="hello")])

SPECS: Final[list[tuple[str, str, Change]]] = [
    # (what is wrong, path of the field in the task, how to make a good task bad)
    ("no model", "model", unset("model")),
    ("a model of forbidden characters", "model", put(model="../add")),
    ("a model of 129 characters", "model", put(model="m" * 129)),
    ("a model with a line break", "model", put(model="add\n")),
    ("no input", "input", unset("tensors")),
    ("a priority that does not exist", "priority", put(priority=9)),
    ("a negative priority", "priority", put(priority=-1)),
    ("a pool that does not exist", "pool", put(pool="nowhere")),
    ("a pool of forbidden characters", "pool", put(pool="DEFAULT;")),
    ("a deadline with too many nanoseconds", "deadline.nanos", deadline(4_000_000_000, 1_000_000_000)),
    ("a deadline with negative nanoseconds", "deadline.nanos", deadline(4_000_000_000, -1)),
    ("a deadline before 1970", "deadline.seconds", deadline(-5)),
    ("a deadline after the year 9999", "deadline.seconds", deadline(1 << 62)),
    ("a negative number of attempts", "retry.max_attempts", put(retry=RetryPolicy(max_attempts=-1))),
    ("101 attempts", "retry.max_attempts", put(retry=RetryPolicy(max_attempts=101))),
    ("an idempotency key of 257 characters", "idempotency_key", put(idempotency_key="k" * 257)),
    ("33 labels", "labels", put(labels=MANY)),
    ("a label without a key", "labels", put(labels={"": "value"})),
    ("a label's key of 64 characters", "labels", put(labels={"k" * 64: ""})),
    ("a label's value of 256 characters", 'labels["k"]', put(labels={"k": "v" * 256})),
    ("a task of over 1 MiB", "", tensors(x(shape=[1 << 17, 4], raw=bytes(1 << 21)))),
    ("no tensor", "tensors.tensors", tensors()),
    ("a tensor without a name", "tensors.tensors[0].name", tensors(x(name=""))),
    ("a tensor's name of 257 characters", "tensors.tensors[0].name", tensors(x(name="n" * 257))),
    ("two tensors of one name", "tensors.tensors[1].name", tensors(x(), x())),
    ("no datatype", "tensors.tensors[0].datatype", tensors(x(datatype=""))),
    ("an unknown datatype", "tensors.tensors[0].datatype", tensors(x(datatype="FP8"))),
    ("a datatype in lower case", "tensors.tensors[0].datatype", tensors(x(datatype="fp32"))),
    ("a negative dimension", "tensors.tensors[0].shape", tensors(x(shape=[-1, 4]))),
    ("33 dimensions", "tensors.tensors[0].shape", tensors(x(shape=[1] * 33))),
    ("a shape beyond all memory", "tensors.tensors[0].raw", tensors(x(shape=[1 << 62, 1 << 62]))),
    ("too few bytes", "tensors.tensors[0].raw", tensors(x(raw=X.tobytes()[:-1]))),
    ("too many bytes", "tensors.tensors[0].raw", tensors(x(raw=X.tobytes() + b"\0"))),
    ("BYTES without lengths", "tensors.tensors[0].raw", tensors(x(datatype="BYTES", shape=[1], raw=b"ab"))),
    (
        "BYTES whose lengths are wrong",
        "tensors.tensors[0].raw",
        tensors(x(datatype="BYTES", shape=[1], raw=struct.pack("<I", 9) + b"ab")),
    ),
    ("neither prompt nor messages", "generate.input", lambda spec: spec.generate.SetInParent()),
    ("an empty prompt", "generate.prompt", generate(prompt="")),
    ("no message", "generate.messages.messages", chat()),
    ("1025 messages", "generate.messages.messages", chat(*[HELLO] * 1025)),
    ("an unknown role", "generate.messages.messages[1].role", chat(HELLO, ChatMessage(role="king", parts=HELLO.parts))),
    ("a message without parts", "generate.messages.messages[0].parts", chat(ChatMessage(role="user"))),
    (
        "a part without content",
        "generate.messages.messages[0].parts[0]",
        chat(ChatMessage(role="user", parts=[ContentPart()])),
    ),
    ("no token allowed", "generate.max_tokens", generate(max_tokens=0)),
    ("a negative number of tokens", "generate.max_tokens", generate(max_tokens=-1)),
    ("2^31-1 tokens", "generate.max_tokens", generate(max_tokens=(1 << 31) - 1)),
    ("a negative temperature", "generate.temperature", generate(temperature=-0.1)),
    ("a temperature over 2", "generate.temperature", generate(temperature=2.1)),
    ("a temperature of NaN", "generate.temperature", generate(temperature=math.nan)),
    ("an infinite temperature", "generate.temperature", generate(temperature=math.inf)),
    ("a top_p of 0", "generate.top_p", generate(top_p=0)),
    ("a top_p over 1", "generate.top_p", generate(top_p=1.01)),
    ("a top_p of NaN", "generate.top_p", generate(top_p=math.nan)),
    ("a negative top_k", "generate.top_k", generate(top_k=-1)),
    ("a negative min_p", "generate.min_p", generate(min_p=-0.1)),
    ("a min_p over 1", "generate.min_p", generate(min_p=1.1)),
    ("a min_p of NaN", "generate.min_p", generate(min_p=math.nan)),
    ("an empty stop string", "generate.stop[1]", generate(stop=["a", ""])),
    ("a stop string over 1 KiB", "generate.stop[0]", generate(stop=["ä" * 513])),
    ("17 stop strings", "generate.stop", generate(stop=["a"] * 17)),
    ("a presence penalty over 2", "generate.presence_penalty", generate(presence_penalty=2.1)),
    ("a presence penalty of NaN", "generate.presence_penalty", generate(presence_penalty=math.nan)),
    ("a frequency penalty under -2", "generate.frequency_penalty", generate(frequency_penalty=-2.1)),
    ("a repetition penalty of 0", "generate.repetition_penalty", generate(repetition_penalty=0)),
    ("a repetition penalty of infinity", "generate.repetition_penalty", generate(repetition_penalty=math.inf)),
    ("a bias over 100", "generate.logit_bias[5]", generate(logit_bias={5: 100.1})),
    ("a bias of NaN", "generate.logit_bias[5]", generate(logit_bias={5: math.nan})),
    ("a bias of a negative token", "generate.logit_bias", generate(logit_bias={-1: 1})),
    ("1025 biases", "generate.logit_bias", generate(logit_bias=dict.fromkeys(range(1025), 1.0))),
    ("21 logprobs", "generate.logprobs", generate(logprobs=21)),
    ("a negative stop token", "generate.stop_token_ids[0]", generate(stop_token_ids=[-1])),
    ("65 stop tokens", "generate.stop_token_ids", generate(stop_token_ids=range(65))),
    ("no answer", "generate.n", generate(n=0)),
    ("17 answers", "generate.n", generate(n=17)),
    ("no format", "generate.response_format.format", held_to()),
    ("a schema that is no JSON", "generate.response_format.json_schema", held_to(json_schema="{")),
    ("a schema that is a list", "generate.response_format.json_schema", held_to(json_schema="[]")),
    (
        "a schema of 65 levels",
        "generate.response_format.json_schema",
        held_to(json_schema='{"not":' * 64 + "{}" + "}" * 64),
    ),
    ("an empty regex", "generate.response_format.regex", held_to(regex="")),
    ("a grammar over 256 KiB", "generate.response_format.grammar", held_to(grammar="x" * 262145)),
]  # fmt: skip

FILTERS: Final[list[tuple[str, str, TaskFilter]]] = [
    ("a state that does not exist", "filter.states[1]", TaskFilter(states=[1, 99])),  # type: ignore[list-item]
    ("a model of forbidden characters", "filter.model", TaskFilter(model="a b")),
    ("33 labels", "filter.labels", TaskFilter(labels=MANY)),
    ("a label without a key", "filter.labels", TaskFilter(labels={"": "v"})),
    ("a priority that does not exist", "filter.priorities[0]", TaskFilter(priorities=[7])),  # type: ignore[list-item]
    ("a pool of forbidden characters", "filter.pool", TaskFilter(pool="No Pool")),
]
LISTS: Final[list[tuple[str, str, Message]]] = [
    *((what, path, task_service_pb2.ListTasksRequest(filter=bad)) for what, path, bad in FILTERS),
    ("a negative page", "page_size", task_service_pb2.ListTasksRequest(page_size=-1)),
    ("a page of 1001", "page_size", task_service_pb2.ListTasksRequest(page_size=1001)),
    ("a token that is none", "page_token", task_service_pb2.ListTasksRequest(page_token="AAAA")),
    ("a token that is no base64", "page_token", task_service_pb2.ListTasksRequest(page_token="%%%ä")),
    ("a token of a megabyte", "page_token", task_service_pb2.ListTasksRequest(page_token="A" * (1 << 20))),
]
CANCELS: Final[list[tuple[str, str, Message]]] = [
    *((what, path, task_service_pb2.CancelTasksRequest(filter=bad)) for what, path, bad in FILTERS),
    ("no target", "target", task_service_pb2.CancelTasksRequest()),
    ("no id", "tasks.ids", task_service_pb2.CancelTasksRequest(tasks=TaskIds())),
    ("10001 ids", "tasks.ids", task_service_pb2.CancelTasksRequest(tasks=TaskIds(ids=[ABSENT] * 10_001))),
    ("a bad id", "tasks.ids[1]", task_service_pb2.CancelTasksRequest(tasks=TaskIds(ids=[ABSENT, "no"]))),
]
WATCHES: Final[list[tuple[str, str, Message]]] = [
    ("no target", "target", task_service_pb2.WatchTasksRequest()),
    ("no id", "tasks.ids", task_service_pb2.WatchTasksRequest(tasks=TaskIds())),
    ("10001 ids", "tasks.ids", task_service_pb2.WatchTasksRequest(tasks=TaskIds(ids=[ABSENT] * 10_001))),
    ("a bad id", "tasks.ids[0]", task_service_pb2.WatchTasksRequest(tasks=TaskIds(ids=["64-" + "0" * 26]))),
    ("no label", "selector.labels", task_service_pb2.WatchTasksRequest(selector=LabelSelector())),
    ("33 labels", "selector.labels", task_service_pb2.WatchTasksRequest(selector=LabelSelector(labels=MANY))),
    (
        "a label's value of 256 characters",
        'selector.labels["k"]',
        task_service_pb2.WatchTasksRequest(selector=LabelSelector(labels={"k": "v" * 256})),
    ),
]
OTHERS: Final[list[tuple[str, str, Message]]] = [
    ("no tasks", "tasks", task_service_pb2.SubmitTasksRequest()),
    ("1001 tasks", "tasks", task_service_pb2.SubmitTasksRequest(tasks=[TaskSpec()] * 1001)),
    ("no id", "id", task_service_pb2.GetTaskRequest()),
    ("a path as an id", "id", task_service_pb2.GetTaskRequest(id="../../etc/passwd")),
    ("an id in upper case", "id", task_service_pb2.GetTaskRequest(id=ABSENT.upper())),
    ("no id", "id", task_service_pb2.StreamOutputRequest()),
    ("a key of the store as an id", "id", task_service_pb2.StreamOutputRequest(id="fb:{07}:t:*")),
    (
        "a negative sequence",
        "after_sequence",
        task_service_pb2.StreamOutputRequest(id=ABSENT, after_sequence=-1),
    ),
    ("a bad pool", "pool", queue_service_pb2.ListQueuesRequest(pool="a/b")),
    ("a pool of 64 characters", "pool", queue_service_pb2.ListQueuesRequest(pool="p" * 64)),
    ("a bad model", "model", model_service_pb2.ListRunnersRequest(model="a b")),
    ("a model of 129 characters", "model", model_service_pb2.ListRunnersRequest(model="m" * 129)),
]
REQUESTS: Final = [*LISTS, *CANCELS, *WATCHES, *OTHERS]

RUNNER_FAULTS: Final[list[tuple[str, str, Change, tuple[str, ...]]]] = [
    # (what is wrong, path of the field, how to make it so, what the error must say)
    (
        "a wrong datatype",
        "tensors.tensors[0].datatype",
        tensors(x(datatype="INT32")),
        ("'x'", "expects FP32", "got INT32"),
    ),
    ("a wrong rank", "tensors.tensors[0].shape", tensors(x(shape=[4])), ("'x'", "rank 2", "got rank 1 [4]")),
    (
        "a wrong shape",
        "tensors.tensors[0].shape",
        tensors(x(shape=[2, 2])),
        ("'x'", "shape [-1,4]", "got [2,2]"),
    ),
    ("an unknown name", "tensors.tensors[0].name", tensors(x(name="z")), ("no input 'z'", "expected x")),
    ("a missing input", "tensors.tensors", tensors(x(name="z")), ("'x' is missing", "expected FP32[-1,4]")),
    ("one input too many", "tensors.tensors[1].name", tensors(x(), x(name="z")), ("no input 'z'",)),
    ("a prompt", "generate", generate(), ("add takes tensors",)),
]


def good(**labels: str) -> TaskSpec:
    return task_spec("add", tensors={"x": X}, labels=labels)


def stub_method(channel: grpc.Channel, request: Message) -> Any:
    """Return the method whose request this is."""
    stubs = (
        task_service_pb2_grpc.TaskServiceStub(channel),
        queue_service_pb2_grpc.QueueServiceStub(channel),
        model_service_pb2_grpc.ModelServiceStub(channel),
    )
    name = type(request).__name__.removesuffix("Request")
    return next(getattr(stub, name) for stub in stubs if hasattr(stub, name))


def refusal(channel: grpc.Channel, request: Message) -> status_pb2.Status:
    """Make a call that must fail and return its status."""
    method = stub_method(channel, request)
    return refused_status(lambda: method(request, timeout=10))


def refused_status(call: Callable[[], Any]) -> status_pb2.Status:
    """Make a call of either kind and return the status with which it fails."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call())
    (raw,) = [entry.value for entry in caught.value.trailing_metadata() if entry.key == DETAILS_KEY]
    status: status_pb2.Status = status_pb2.Status.FromString(raw)
    assert status.code == caught.value.code().value[0]
    assert status.message == caught.value.details()
    return status


def details(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo, list[str]]:
    """Return ErrorInfo, which must be there, and the field paths of BadRequest."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    fields = []
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
            assert all(violation.description for violation in bad.field_violations)
    assert info.domain == "forebay"
    return info, fields


def named(rows: list[Any]) -> Any:
    return [pytest.param(*row[1:], id=f"{row[1]}: {row[0]}") for row in rows]


@pytest.mark.parametrize(("path", "change"), named(SPECS))
def test_a_bad_task_is_refused_by_field_and_its_neighbours_are_accepted(
    channel: grpc.Channel, path: str, change: Change
) -> None:
    bad = good()
    change(bad)
    request = task_service_pb2.SubmitTasksRequest(tasks=[good(), bad, good()])
    before, refused, after = (
        task_service_pb2_grpc.TaskServiceStub(channel).SubmitTasks(request, timeout=10).results
    )
    assert before.task.state == after.task.state == task_pb2.TASK_STATE_QUEUED
    assert refused.error.code == code_pb2.INVALID_ARGUMENT
    info, fields = details(refused.error)
    assert info.reason == "INVALID_INPUT"
    assert fields == [f"tasks[1].{path}".rstrip(".")]


def test_all_faults_of_a_task_are_told_at_once(channel: grpc.Channel) -> None:
    bad = TaskSpec(model="?", priority=9, pool="?", retry=RetryPolicy(max_attempts=-1))  # type: ignore[arg-type]
    request = task_service_pb2.SubmitTasksRequest(tasks=[bad])
    (refused,) = task_service_pb2_grpc.TaskServiceStub(channel).SubmitTasks(request, timeout=10).results
    _, fields = details(refused.error)
    assert fields == [
        f"tasks[0].{path}" for path in ("model", "input", "priority", "pool", "retry.max_attempts")
    ]


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        pytest.param(path, bad, id=f"{type(bad).__name__.removesuffix('Request')} {path}: {what}")
        for what, path, bad in REQUESTS
    ],
)
def test_a_bad_request_is_refused_by_field(channel: grpc.Channel, path: str, request_: Message) -> None:
    status = refusal(channel, request_)
    assert status.code == code_pb2.INVALID_ARGUMENT
    info, fields = details(status)
    assert (info.reason, fields) == ("INVALID_INPUT", [path])


def test_a_page_token_of_another_filter_is_refused(channel: grpc.Channel) -> None:
    tasks = task_service_pb2_grpc.TaskServiceStub(channel)
    tasks.SubmitTasks(task_service_pb2.SubmitTasksRequest(tasks=[good(), good()]), timeout=10)
    token = tasks.ListTasks(task_service_pb2.ListTasksRequest(page_size=1), timeout=10).next_page_token
    other = task_service_pb2.ListTasksRequest(page_token=token, filter=TaskFilter(model="add"))
    assert details(refusal(channel, other))[1] == ["page_token"]


@pytest.mark.parametrize(
    "request_",
    [
        task_service_pb2.GetTaskRequest(id=ABSENT),
        task_service_pb2.StreamOutputRequest(id=ABSENT),
        task_service_pb2.WatchTasksRequest(tasks=TaskIds(ids=[ABSENT])),
    ],
    ids=lambda request_: type(request_).__name__,
)
def test_a_task_that_does_not_exist_is_not_found(channel: grpc.Channel, request_: Message) -> None:
    status = refusal(channel, request_)
    assert status.code == code_pb2.NOT_FOUND
    assert details(status)[0].reason == "TASK_NOT_FOUND"


def test_a_key_that_belongs_to_another_task_is_already_exists(channel: grpc.Channel) -> None:
    first, second = good(), good(other="yes")
    first.idempotency_key = second.idempotency_key = f"bad-input-{new_ids(7, 1, 0)[0]}"
    request = task_service_pb2.SubmitTasksRequest(tasks=[first, second, first])
    results = task_service_pb2_grpc.TaskServiceStub(channel).SubmitTasks(request, timeout=10).results
    assert results[0].task.id == results[2].task.id != ""
    assert results[1].error.code == code_pb2.ALREADY_EXISTS
    assert details(results[1].error)[0].reason == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize("body", [b"\xff" * 64, b"\x0a\x05\x0a\x03\xff\xfe\xfd", b"\x0a\x7f"], ids=bytes.hex)
@pytest.mark.parametrize("method", ["SubmitTasks", "GetTask", "ListTasks", "WatchTasks", "CancelTasks"])
def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel, method: str, body: bytes) -> None:
    call: Any = channel.unary_stream(f"/forebay.tasks.v1.TaskService/{method}")
    status = refused_status(lambda: call(body, timeout=10))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert details(status)[0].reason == "INVALID_INPUT"


@pytest.mark.parametrize(("path", "change", "sayings"), named(RUNNER_FAULTS))
def test_what_does_not_fit_the_model_fails_at_the_runner_by_field(
    client: Client, path: str, change: Change, sayings: tuple[str, ...]
) -> None:
    bad = good()
    change(bad)
    before, failed, after = client.wait_many(client.submit_many([good(), bad, good()]), timeout_s=20)
    assert before.tensors["y"].tolist() == after.tensors["y"].tolist() == [[2, 4, 6, 8]]
    assert failed.state is TaskState.FAILED and failed.attempt == 1
    assert failed.error is not None
    assert (failed.error.code, failed.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    faults = {fault.field: fault.fault for fault in failed.error.faults}
    assert all(saying in faults[path] for saying in sayings), faults


def test_after_all_of_it_the_system_works(client: Client) -> None:
    specs = [task_spec("add", tensors={"x": X + n}) for n in range(100)]
    tasks = client.wait_many(client.submit_many(specs), timeout_s=20)
    assert [task.tensors["y"][0, 0] for task in tasks] == [2 * (1 + n) for n in range(100)]
    assert all(runner.state == "ready" for runner in client.runners())
