import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from forebay.tasks.v1 import inputs_pb2, task_pb2
from services.gateway import validation

POOLS = frozenset({"default", "gpu"})
GOOD_ID = "07-01kaj5x3c9f0e8q4v2m7t1b6zd"


def generation() -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="smollm2", generate=inputs_pb2.GenerateInput(prompt="hello"))


def tensors() -> task_pb2.TaskSpec:
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=bytes(8))
    return task_pb2.TaskSpec(model="add", tensors=inputs_pb2.TensorInput(tensors=[one]))


def embedding(*texts: str) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="minilm", embed=inputs_pb2.EmbedInput(texts=texts))


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
        if isinstance(value, dict | Message):
            target.MergeFrom(type(target)(**{name: value}))
        elif field.is_repeated:
            target.ClearField(name)
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)
    return spec


def formatted(**format_: str) -> task_pb2.TaskSpec:
    spec = generation()
    spec.generate.response_format.CopyFrom(inputs_pb2.ResponseFormat(**format_))  # type: ignore[arg-type]
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
        presence_penalty=-2.0,
        frequency_penalty=2.0,
        repetition_penalty=2.0,
        logit_bias={token: -100.0 if token % 2 else 100.0 for token in range(1024)},
        logprobs=20,
        stop_token_ids=range(64),
        n=16,
        response_format=inputs_pb2.ResponseFormat(regex="x" * 2**18),
        priority=task_pb2.PRIORITY_LOW,
        pool="gpu",
        idempotency_key="k" * 256,
    )
    spec.deadline.seconds = 1_900_000_000
    spec.not_before.seconds = 253_402_300_799
    spec.retry.max_attempts = 100
    spec.retry.initial_backoff.seconds = 3600
    spec.retry.max_backoff.seconds = 86_400
    spec.retry.multiplier = 10
    spec.depends_on.extend(task_pb2.Dependency(index=number) for number in range(1000))
    spec.on_parent_failure = task_pb2.PARENT_FAILURE_POLICY_CANCEL
    for number in range(32):
        spec.labels["k" * 60 + str(number)] = "v" * 255
    return spec


def faults_of(spec: task_pb2.TaskSpec) -> list[tuple[str, str]]:
    return validation.spec_faults(spec, POOLS, dependent=bool(spec.depends_on))


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


def _given(make: Callable[[], task_pb2.TaskSpec], **fields: Any) -> task_pb2.TaskSpec:
    spec = make()
    spec.MergeFrom(task_pb2.TaskSpec(**fields))
    return spec


def _retry(**fields: Any) -> task_pb2.TaskSpec:
    return _given(generation, retry=task_pb2.RetryPolicy(**fields))


def _children(*parents: Any) -> task_pb2.TaskSpec:
    named = [
        task_pb2.Dependency(id=parent) if isinstance(parent, str) else task_pb2.Dependency(index=parent)
        for parent in parents
    ]
    return _given(generation, depends_on=named)


def _taking(make: Callable[[], task_pb2.TaskSpec], *references: tuple[int, str, str]) -> task_pb2.TaskSpec:
    taken = [task_pb2.InputReference(parent=p, output=o, input=i) for p, o, i in references]
    return _given(make, depends_on=[task_pb2.Dependency(index=0)], inputs_from=taken)


def template() -> task_pb2.TaskSpec:
    return changed(generation, prompt="about {{a}} and {{b}}")


def no_tensors() -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="add", tensors=inputs_pb2.TensorInput())


VALID = {
    "a prompt": generation(),
    "everything at its limit": full(),
    "a tensor": tensors(),
    "a scalar": changed(tensors, shape=[], raw=bytes(4)),
    "placeholders": _taking(template, (0, "text", "a"), (0, "text", "b")),
    "nothing but tensors of parents": _taking(no_tensors, (0, "o", "x")),
    "one tensor of a parent": _taking(tensors, (0, "o", "y")),
    "no elements": changed(tensors, shape=[0, 5], raw=b""),
    "texts": changed(tensors, datatype="BYTES", shape=[2], raw=b"\1\0\0\0a\0\0\0\0"),
    "a version of a model": changed(generation, model="m" * 128 + "@12"),
    "numbers of two bytes": changed(tensors, datatype="BF16", raw=bytes(4)),
    "a text to embed": embedding("hello"),
    "as many texts as may be": embedding(*["x" * 512] * 2048),
    "a chat": chat(message("system", "be kind"), message("user", "hello", ""), message("assistant", "hi")),
}


@pytest.mark.parametrize("name", VALID)
def test_a_valid_task_has_no_faults(name: str) -> None:
    assert faults_of(VALID[name]) == []


INVALID: list[tuple[str, task_pb2.TaskSpec]] = [
    ("model", changed(generation, model="")),
    ("model", changed(generation, model="a/b")),
    ("model", changed(generation, model="m" * 129)),
    ("model", changed(generation, model="m@")),
    ("model", changed(generation, model="m@0")),
    ("model", changed(generation, model="m@1@2")),
    ("embed.texts", embedding()),
    ("embed.texts", embedding(*["x"] * 2049)),
    ("embed.texts", embedding("é" * (2**19 + 1))),
    ("embed.texts[1]", embedding("x", "")),
    ("inputs_from[0]", _taking(lambda: embedding("{{a}}"), (0, "text", "a"))),
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
    ("not_before.seconds", _given(generation, not_before=Timestamp(seconds=-1))),
    ("not_before.nanos", _given(generation, not_before=Timestamp(seconds=1, nanos=-1))),
    ("retry.initial_backoff", _retry(initial_backoff=Duration(seconds=-1))),
    ("retry.initial_backoff", _retry(initial_backoff=Duration(seconds=3600, nanos=1))),
    ("retry.max_backoff", _retry(max_backoff=Duration(seconds=86_401))),
    ("retry.max_backoff", _retry(max_backoff=Duration(nanos=-1))),
    ("retry.multiplier", _retry(multiplier=0.5)),
    ("retry.multiplier", _retry(multiplier=10.5)),
    ("retry.multiplier", _retry(multiplier=math.nan)),
    ("depends_on", _given(generation, depends_on=[task_pb2.Dependency(index=0)] * 1001)),
    ("depends_on[0]", _given(generation, depends_on=[task_pb2.Dependency()])),
    ("depends_on[0].id", _children("x")),
    ("depends_on[1].id", _children(GOOD_ID, GOOD_ID)),
    ("depends_on[1].index", _children(1, 1)),
    ("on_parent_failure", changed(generation, on_parent_failure=4)),
    ("cache", changed(generation, cache=5)),
    ("cache", changed(generation, cache=-1)),
    ("inputs_from", _taking(no_tensors, *((0, "o", str(n)) for n in range(65)))),
    ("inputs_from[0].parent", _taking(template, (1, "text", "a"))),
    ("inputs_from[0].parent", _taking(template, (-1, "text", "a"))),
    ("inputs_from[0].parent", _given(template, inputs_from=[{"output": "text", "input": "a"}])),
    ("inputs_from[0].output", _taking(template, (0, "tokens", "a"))),
    ("inputs_from[0].output", _taking(no_tensors, (0, "", "a"))),
    ("inputs_from[0].output", _taking(no_tensors, (0, "o" * 257, "a"))),
    ("inputs_from[0].input", _taking(template, (0, "text", "c"))),
    ("inputs_from[0].input", _taking(no_tensors, (0, "o", ""))),
    ("inputs_from[0].input", _taking(no_tensors, (0, "o", "i" * 257))),
    ("inputs_from[0].input", _taking(tensors, (0, "o", "x"))),
    ("inputs_from[1].input", _taking(template, (0, "text", "a"), (0, "text", "a"))),
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
    *(
        (f"generate.{name}", changed(generation, **{name: value}))
        for name in ("presence_penalty", "frequency_penalty")
        for value in (-2.1, 2.1, math.nan, -math.inf)
    ),
    ("generate.repetition_penalty", changed(generation, repetition_penalty=0.0)),
    ("generate.repetition_penalty", changed(generation, repetition_penalty=2.1)),
    ("generate.repetition_penalty", changed(generation, repetition_penalty=math.nan)),
    ("generate.logit_bias", changed(generation, logit_bias=dict.fromkeys(range(1025), 1.0))),
    ("generate.logit_bias", changed(generation, logit_bias={-1: 1.0})),
    ("generate.logit_bias[7]", changed(generation, logit_bias={7: 100.5, 8: 1.0})),
    ("generate.logit_bias[7]", changed(generation, logit_bias={7: -math.inf})),
    ("generate.logit_bias[7]", changed(generation, logit_bias={7: math.nan})),
    ("generate.logprobs", changed(generation, logprobs=-1)),
    ("generate.logprobs", changed(generation, logprobs=21)),
    ("generate.stop_token_ids", changed(generation, stop_token_ids=range(65))),
    ("generate.stop_token_ids[1]", changed(generation, stop_token_ids=[0, -1])),
    ("generate.n", changed(generation, n=0)),
    ("generate.n", changed(generation, n=17)),
    ("generate.response_format.format", formatted()),
    ("generate.response_format.json_schema", formatted(json_schema="")),
    ("generate.response_format.json_schema", formatted(json_schema="{")),
    ("generate.response_format.json_schema", formatted(json_schema="[]")),
    ("generate.response_format.json_schema", formatted(json_schema='"string"')),
    ("generate.response_format.json_schema", formatted(json_schema='{"const": NaN}')),
    ("generate.response_format.regex", formatted(regex="")),
    ("generate.response_format.regex", formatted(regex="x" * (2**18 + 1))),
    ("generate.response_format.grammar", formatted(grammar="")),
    ("generate.response_format.grammar", formatted(grammar="é" * (2**17 + 1))),
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
    assert [path for path, _ in faults_of(spec)] == [field]


def test_every_field_of_a_task_has_a_rule() -> None:
    without_rule = {"seed", "ignore_eos"}
    ruled = {path.replace("[", ".").split(".")[0] for path, _ in INVALID}
    assert {field.name for field in task_pb2.TaskSpec.DESCRIPTOR.fields} <= ruled
    ruled = {path.split(".")[1].split("[")[0] for path, _ in INVALID if path.startswith("generate.")}
    generate = {field.name for field in inputs_pb2.GenerateInput.DESCRIPTOR.fields}
    assert generate - without_rule <= ruled
    embedded = {field.name for field in inputs_pb2.EmbedInput.DESCRIPTOR.fields}
    assert embedded - {"normalize"} <= {
        path.split(".")[1] for path, _ in INVALID if path.startswith("embed.")
    }
    ruled = {path.rsplit(".", 1)[1] for path, _ in INVALID if path.startswith("tensors.tensors[")}
    assert {field.name for field in inputs_pb2.Tensor.DESCRIPTOR.fields} <= ruled


def test_all_faults_of_a_task_are_found_and_few_are_shown() -> None:
    spec = changed(generation, top_p=5.0, top_k=-2, priority=9, stop=[""] * 16)
    assert len(faults_of(spec)) == 19
    error = validation.invalid_spec(3, [("a", "b")] * 100)
    assert len(error.faults) == validation.MAX_FAULTS
    assert error.faults[0].field == "tasks[3].a"
