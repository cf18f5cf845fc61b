"""Bad input for every field of a task, through the real gateway.

What cannot be right for any model is refused by the gateway; what does not fit a model ends the task at its runner.
Long, because it is a table.
"""

import math
import struct
from typing import Any, Final

import grpc
import pytest
from google.rpc import code_pb2

from forebay.client import Client, TaskState, task_spec
from forebay.tasks.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc
from forebay.tasks.v1.inputs_pb2 import (
    ChatMessage,
    ChatMessages,
    ContentPart,
    GenerateInput,
    ResponseFormat,
)
from forebay.tasks.v1.task_pb2 import RetryPolicy, TaskSpec
from scheduler.ids import new_ids
from tests.e2e.bad_input import Change, X, details, generate, good, named, tensors, x

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
MANY: Final = {f"label-{n}": "" for n in range(33)}


def chat(*messages: ChatMessage) -> Change:
    return lambda spec: spec.generate.CopyFrom(GenerateInput(messages=ChatMessages(messages=messages)))


def held_to(**given: Any) -> Change:
    return generate(response_format=ResponseFormat(**given))


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


def test_a_key_that_belongs_to_another_task_is_already_exists(channel: grpc.Channel) -> None:
    first, second = good(), good(other="yes")
    first.idempotency_key = second.idempotency_key = f"bad-input-{new_ids(7, 1, 0)[0]}"
    request = task_service_pb2.SubmitTasksRequest(tasks=[first, second, first])
    results = task_service_pb2_grpc.TaskServiceStub(channel).SubmitTasks(request, timeout=10).results
    assert results[0].task.id == results[2].task.id != ""
    assert results[1].error.code == code_pb2.ALREADY_EXISTS
    assert details(results[1].error)[0].reason == "IDEMPOTENCY_KEY_REUSED"


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
