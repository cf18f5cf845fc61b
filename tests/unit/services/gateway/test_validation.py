import math
from collections.abc import Callable
from typing import Any

import pytest

from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2
from scheduler.errors import InvalidInput
from services.gateway import validation

POOLS = frozenset({"default", "gpu"})
GOOD_ID = "07-01kaj5x3c9f0e8q4v2m7t1b6zd"


def generation() -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="smollm2", generate=inputs_pb2.GenerateInput(prompt="hello"))


def tensors() -> task_pb2.TaskSpec:
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=bytes(8))
    return task_pb2.TaskSpec(model="add", tensors=inputs_pb2.TensorInput(tensors=[one]))


def chat(*messages: inputs_pb2.ChatMessage) -> task_pb2.TaskSpec:
    spec = generation()
    spec.generate.messages.messages.extend(messages)
    return spec


def message(role: str = "user", *texts: str) -> inputs_pb2.ChatMessage:
    return inputs_pb2.ChatMessage(role=role, parts=[inputs_pb2.ContentPart(text=text) for text in texts])


def changed(make: Callable[[], task_pb2.TaskSpec], **fields: Any) -> task_pb2.TaskSpec:
    spec = make()
    part: Any = spec.generate if make is generation else spec.tensors.tensors[0]
    for name, value in fields.items():
        target: Any = part if name in part.DESCRIPTOR.fields_by_name else spec
        field = target.DESCRIPTOR.fields_by_name[name]
        if field.is_repeated:
            target.ClearField(name)
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)
    return spec


def full() -> task_pb2.TaskSpec:
    spec = changed(
        generation,
        max_tokens=1,
        temperature=2.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        seed=2**64 - 1,
        stop=["x" * 1024] * 16,
        ignore_eos=True,
        priority=task_pb2.PRIORITY_LOW,
        pool="gpu",
        idempotency_key="k" * 256,
    )
    spec.deadline.seconds = 1_900_000_000
    spec.retry.max_attempts = 100
    for number in range(32):
        spec.labels["k" * 60 + str(number)] = "v" * 255
    return spec


VALID = {
    "a prompt": generation(),
    "everything at its limit": full(),
    "a tensor": tensors(),
    "a scalar": changed(tensors, shape=[], raw=bytes(4)),
    "no elements": changed(tensors, shape=[0, 5], raw=b""),
    "texts": changed(tensors, datatype="BYTES", shape=[2], raw=b"\1\0\0\0a\0\0\0\0"),
    "a chat": chat(message("system", "be kind"), message("user", "hello", ""), message("assistant", "hi")),
}


@pytest.mark.parametrize("name", VALID)
def test_a_valid_task_has_no_faults(name: str) -> None:
    assert validation.spec_faults(VALID[name], POOLS) == []


def _with_deadline(seconds: int, nanos: int = 0) -> task_pb2.TaskSpec:
    spec = generation()
    spec.deadline.seconds, spec.deadline.nanos = seconds, nanos
    return spec


def _with_attempts(count: int) -> task_pb2.TaskSpec:
    spec = generation()
    spec.retry.max_attempts = count
    return spec


def _with_labels(labels: dict[str, str]) -> task_pb2.TaskSpec:
    spec = generation()
    spec.labels.update(labels)
    return spec


def _twice() -> task_pb2.TaskSpec:
    spec = tensors()
    spec.tensors.tensors.append(spec.tensors.tensors[0])
    return spec


INVALID: list[tuple[str, task_pb2.TaskSpec]] = [
    ("model", changed(generation, model="")),
    ("model", changed(generation, model="a/b")),
    ("model", changed(generation, model="m" * 129)),
    ("input", task_pb2.TaskSpec(model="m")),
    ("priority", changed(generation, priority=5)),
    ("priority", changed(generation, priority=-1)),
    ("pool", changed(generation, pool="Default")),
    ("pool", changed(generation, pool="other")),
    ("deadline.seconds", _with_deadline(0)),
    ("deadline.seconds", _with_deadline(-5)),
    ("deadline.seconds", _with_deadline(2**60)),
    ("deadline.nanos", _with_deadline(5, -1)),
    ("deadline.nanos", _with_deadline(5, 1_000_000_000)),
    ("retry.max_attempts", _with_attempts(-1)),
    ("retry.max_attempts", _with_attempts(101)),
    ("idempotency_key", changed(generation, idempotency_key="k" * 257)),
    ("labels", _with_labels({str(n): "" for n in range(33)})),
    ("labels", _with_labels({"": "v"})),
    ("labels", _with_labels({"k" * 64: "v"})),
    ('labels["k"]', _with_labels({"k": "v" * 256})),
    ("generate.input", task_pb2.TaskSpec(model="m", generate=inputs_pb2.GenerateInput())),
    ("generate.prompt", changed(generation, prompt="")),
    ("generate.messages.messages", chat(*[message("user", "x")] * 1025)),
    ("generate.messages.messages[0].role", chat(message("", "x"))),
    ("generate.messages.messages[1].role", chat(message("user", "x"), message("robot", "x"))),
    ("generate.messages.messages[0].parts", chat(message("user"))),
    (
        "generate.messages.messages[0].parts[0]",
        chat(inputs_pb2.ChatMessage(role="user", parts=[inputs_pb2.ContentPart()])),
    ),
    ("generate.max_tokens", changed(generation, max_tokens=0)),
    ("generate.max_tokens", changed(generation, max_tokens=2**31 - 1)),
    ("generate.temperature", changed(generation, temperature=-0.1)),
    ("generate.temperature", changed(generation, temperature=2.1)),
    ("generate.temperature", changed(generation, temperature=math.nan)),
    ("generate.temperature", changed(generation, temperature=math.inf)),
    ("generate.top_p", changed(generation, top_p=0.0)),
    ("generate.top_p", changed(generation, top_p=1.1)),
    ("generate.top_p", changed(generation, top_p=math.nan)),
    ("generate.top_k", changed(generation, top_k=-1)),
    ("generate.min_p", changed(generation, min_p=-0.1)),
    ("generate.min_p", changed(generation, min_p=1.1)),
    ("generate.min_p", changed(generation, min_p=math.nan)),
    ("generate.stop", changed(generation, stop=["x"] * 17)),
    ("generate.stop[1]", changed(generation, stop=["x", ""])),
    ("generate.stop[0]", changed(generation, stop=["é" * 513])),
    ("tensors.tensors", task_pb2.TaskSpec(model="m", tensors=inputs_pb2.TensorInput())),
    ("tensors.tensors[0].name", changed(tensors, name="")),
    ("tensors.tensors[0].name", changed(tensors, name="n" * 257)),
    ("tensors.tensors[1].name", _twice()),
    ("tensors.tensors[0].datatype", changed(tensors, datatype="")),
    ("tensors.tensors[0].datatype", changed(tensors, datatype="FLOAT")),
    ("tensors.tensors[0].shape", changed(tensors, shape=[-1, -2])),
    ("tensors.tensors[0].shape", changed(tensors, shape=[1] * 33)),
    ("tensors.tensors[0].raw", changed(tensors, raw=bytes(7))),
    ("tensors.tensors[0].raw", changed(tensors, shape=[2**62, 2**62])),
    ("tensors.tensors[0].raw", changed(tensors, datatype="BYTES", raw=b"\1\0\0\0a")),
    ("tensors.tensors[0].raw", changed(tensors, datatype="BYTES", raw=b"\1\0\0\0a\xff\xff\xff\xff")),
    ("tensors.tensors[0].raw", changed(tensors, datatype="BYTES", shape=[10**6], raw=b"")),
]


@pytest.mark.parametrize(("field", "spec"), INVALID, ids=[f"{f}-{n}" for n, (f, _) in enumerate(INVALID)])
def test_a_fault_names_its_field(field: str, spec: task_pb2.TaskSpec) -> None:
    assert [path for path, _ in validation.spec_faults(spec, POOLS)] == [field]


def test_every_field_of_a_task_has_a_rule() -> None:
    without_rule = {"seed", "ignore_eos"}
    ruled = {path.replace("[", ".").split(".")[0] for path, _ in INVALID}
    assert {field.name for field in task_pb2.TaskSpec.DESCRIPTOR.fields} <= ruled
    ruled = {path.split(".")[1].split("[")[0] for path, _ in INVALID if path.startswith("generate.")}
    generate = {field.name for field in inputs_pb2.GenerateInput.DESCRIPTOR.fields}
    assert generate - without_rule <= ruled
    ruled = {path.rsplit(".", 1)[1] for path, _ in INVALID if path.startswith("tensors.tensors[")}
    assert {field.name for field in inputs_pb2.Tensor.DESCRIPTOR.fields} <= ruled


def test_all_faults_of_a_task_are_found_and_few_are_shown() -> None:
    spec = changed(generation, top_p=5.0, top_k=-2, priority=9, stop=[""] * 16)
    assert len(validation.spec_faults(spec, POOLS)) == 19
    error = validation.invalid_spec(3, [("a", "b")] * 100)
    assert len(error.faults) == validation.MAX_FAULTS
    assert error.faults[0].field == "tasks[3].a"


Refusal = tuple[Callable[[Any], None], Any, str]
WATCH, OUTPUT = task_service_pb2.WatchTasksRequest, task_service_pb2.StreamOutputRequest
LIST, CANCEL = task_service_pb2.ListTasksRequest, task_service_pb2.CancelTasksRequest
IDS = task_service_pb2.TaskIds
FILTER: Any = task_service_pb2.TaskFilter
SELECTOR = task_service_pb2.LabelSelector

REFUSED: list[Refusal] = [
    (validation.check_id, "", "id"),
    (validation.check_id, "99-" + GOOD_ID[3:], "id"),
    (validation.check_watch, WATCH(), "target"),
    (validation.check_watch, WATCH(tasks=IDS()), "tasks.ids"),
    (validation.check_watch, WATCH(tasks=IDS(ids=[GOOD_ID, "x"])), "tasks.ids[1]"),
    (validation.check_watch, WATCH(tasks=IDS(ids=[GOOD_ID] * 10_001)), "tasks.ids"),
    (validation.check_watch, WATCH(selector=SELECTOR()), "selector.labels"),
    (validation.check_watch, WATCH(selector=SELECTOR(labels={"": "x"})), "selector.labels"),
    (validation.check_output, OUTPUT(id="x"), "id"),
    (validation.check_output, OUTPUT(id=GOOD_ID, after_sequence=-1), "after_sequence"),
    (validation.check_list, LIST(page_size=-1), "page_size"),
    (validation.check_list, LIST(page_size=1001), "page_size"),
    (validation.check_list, LIST(page_token="x" * 513), "page_token"),
    (validation.check_list, LIST(filter=FILTER(states=[1, 77])), "filter.states[1]"),
    (validation.check_list, LIST(filter=FILTER(priorities=[77])), "filter.priorities[0]"),
    (validation.check_list, LIST(filter=FILTER(model="a b")), "filter.model"),
    (validation.check_list, LIST(filter=FILTER(pool="A")), "filter.pool"),
    (validation.check_list, LIST(filter=FILTER(labels={"k": "v" * 256})), 'filter.labels["k"]'),
    (validation.check_cancel, CANCEL(), "target"),
    (validation.check_cancel, CANCEL(tasks=IDS(ids=["x"])), "tasks.ids[0]"),
    (validation.check_cancel, CANCEL(filter=FILTER(states=[77])), "filter.states[0]"),
    (validation.check_pool, "A", "pool"),
    (validation.check_model, "a b", "model"),
]


@pytest.mark.parametrize(("check", "request_", "field"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_a_request_is_refused_by_field(check: Callable[[Any], None], request_: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(request_)
    assert [fault.field for fault in refused.value.faults] == [field]


@pytest.mark.parametrize(
    ("check", "request_"),
    [
        (validation.check_id, GOOD_ID),
        (validation.check_watch, WATCH(tasks=IDS(ids=[GOOD_ID]))),
        (validation.check_watch, WATCH(selector=SELECTOR(labels={"a": "b"}))),
        (validation.check_watch, WATCH(all=task_service_pb2.AllTasks())),
        (validation.check_output, OUTPUT(id=GOOD_ID)),
        (validation.check_list, LIST()),
        (validation.check_list, LIST(filter=FILTER(states=[0, 9], priorities=[0, 4], model="m", pool="p"))),
        (validation.check_cancel, CANCEL(filter=FILTER())),
    ],
)
def test_a_good_request_passes(check: Callable[[Any], None], request_: Any) -> None:
    check(request_)
