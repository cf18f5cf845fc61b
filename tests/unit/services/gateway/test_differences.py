"""Naming what differs between two specs."""

import pytest

from forebay.tasks.v1 import inputs_pb2, task_pb2
from services.gateway.differences import differing


def spec(text: str = "p", **fields: object) -> task_pb2.TaskSpec:
    made = task_pb2.TaskSpec(model="m", generate=inputs_pb2.GenerateInput(prompt=text))
    made.MergeFrom(task_pb2.TaskSpec(**fields))  # type: ignore[arg-type]  # fields of the tests' choice
    return made


def chat() -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(model="m", generate=inputs_pb2.GenerateInput(messages=inputs_pb2.ChatMessages()))


EMBED = task_pb2.TaskSpec(model="m", embed=inputs_pb2.EmbedInput(texts=["a"]))
EMBED_OTHER = task_pb2.TaskSpec(model="m", embed=inputs_pb2.EmbedInput(texts=["b"], normalize=True))
TENSORS = task_pb2.TaskSpec(model="m", tensors=inputs_pb2.TensorInput())


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        (spec(), spec(), []),
        (spec(idempotency_key="a"), spec(idempotency_key="b"), []),
        (spec("p"), spec("q"), ["generate.prompt"]),
        (spec(), chat(), ["generate.prompt", "generate.messages"]),
        (spec(), TENSORS, ["input"]),
        (EMBED, TENSORS, ["input"]),
        (EMBED, EMBED_OTHER, ["embed.texts", "embed.normalize"]),
        (spec(), task_pb2.TaskSpec(model="m"), ["input"]),
        (spec(model="n", labels={"a": "b"}), spec(), ["model", "labels"]),
        (spec(deadline={"seconds": 1}), spec(), ["deadline"]),
        (spec(retry={}), spec(), ["retry"]),
        (spec(generate={"temperature": 0}), spec(), ["generate.temperature"]),
        (spec(depends_on=[{"id": "x"}]), spec(depends_on=[{"id": "y"}]), ["depends_on"]),
    ],
)
def test_fields_that_are_not_equal_are_named(
    one: task_pb2.TaskSpec, other: task_pb2.TaskSpec, names: list[str]
) -> None:
    assert differing(one, other) == differing(other, one) == names
