"""What cannot change the answer does not change the key."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache.key.question import DEFAULT_MAX_TOKENS, GREEDY_BELOW
from cache.key.reading import generate_question, task_question
from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest
from forebay.tasks.v1 import inputs_pb2, task_pb2
from inference.convert import DEFAULT_MAX_TOKENS as DEFAULT_OF_THE_ENGINE
from inference.generate.sampling import Sampling
from inference.generate.sampling.parameters import GREEDY_BELOW as GREEDY_OF_THE_ENGINE
from services.gateway.kserve.contents import TYPED, raw_of
from tests.unit.cache.key.asking import MODEL, chat, embed, generate, key_of, tensors
from tests.unit.cache.key.decisions import CHANGES_NOTHING


def test_a_text_in_two_parts_is_the_text_that_the_model_gets() -> None:
    other = chat()
    del other.messages.messages[0].parts[:]
    other.messages.messages[0].parts.add(text="Hel")
    other.messages.messages[0].parts.add(text="lo")
    assert key_of(other) == key_of(chat())


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("max_tokens", 256),
        ("top_p", 1),
        ("top_k", 0),
        ("min_p", 0),
        ("presence_penalty", 0),
        ("frequency_penalty", 0),
        ("repetition_penalty", 1),
        ("n", 1),
        ("ignore_eos", False),
    ],
)
def test_a_default_that_is_spelled_out_changes_nothing(field: str, default: float) -> None:
    spelled = generate()
    setattr(spelled, field, default)
    assert key_of(spelled) == key_of(generate())


def test_every_optional_number_has_a_default_or_means_something_when_it_is_there() -> None:
    greedy = inputs_pb2.GenerateInput(prompt="a")
    spelled = inputs_pb2.GenerateInput(prompt="a", temperature=0)
    assert key_of(spelled) == key_of(greedy)
    for field in ("seed", "logprobs"):
        base = inputs_pb2.GenerateInput(prompt="a", temperature=1)
        given = inputs_pb2.GenerateInput(prompt="a", temperature=1)
        setattr(given, field, 0)
        assert key_of(given) != key_of(base), field
    assert key_of(inputs_pb2.EmbedInput(texts=["one", "two"])) == key_of(embed())


def test_the_defaults_are_those_of_the_engine() -> None:
    assert DEFAULT_MAX_TOKENS == DEFAULT_OF_THE_ENGINE
    assert GREEDY_BELOW == GREEDY_OF_THE_ENGINE


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 9},
        {"top_p": 0.5},
        {"top_k": 4},
        {"min_p": 0.5},
        {"temperature": 1e-6},
        {"temperature": -0.0},
    ],
)
def test_what_only_counts_for_drawing_changes_nothing_in_a_greedy_generation(changes: dict[str, Any]) -> None:
    greedy = inputs_pb2.GenerateInput(prompt="a", presence_penalty=0.5)
    other = inputs_pb2.GenerateInput(prompt="a", presence_penalty=0.5)
    for field, value in changes.items():
        setattr(other, field, value)
    assert key_of(other) == key_of(greedy)
    assert Sampling(temperature=other.temperature).greedy, "the engine says so too"


def test_nan_is_not_greedy() -> None:
    question = generate_question(inputs_pb2.GenerateInput(prompt="a", temperature=float("nan"), top_k=4))
    assert not question.greedy
    assert question.top_k == 4


def test_order_and_repetition_of_what_ends_a_text_change_nothing() -> None:
    base = inputs_pb2.GenerateInput(prompt="a", stop=["x", "y"], stop_token_ids=[1, 2])
    other = inputs_pb2.GenerateInput(prompt="a", stop=["y", "x", "y"], stop_token_ids=[2, 1, 1])
    assert key_of(other) == key_of(base)


def test_the_order_of_a_map_and_of_tensors_changes_nothing() -> None:
    tokens = [100_003 + 7 * number**2 for number in range(40)]
    ways = [generate(), generate()]
    for message, order in zip(ways, (tokens, tokens[::-1]), strict=True):
        for token in order:
            message.logit_bias[token] = token % 7
    assert list(ways[0].logit_bias) != list(ways[1].logit_bias), "else nothing is tried here"
    assert key_of(ways[0]) == key_of(ways[1])
    backwards = inputs_pb2.TensorInput(tensors=reversed(tensors().tensors))
    assert key_of(backwards) == key_of(tensors())


@pytest.mark.parametrize("datatype", TYPED)
def test_elements_in_typed_fields_are_the_same_question_as_raw_bytes(datatype: str) -> None:
    field, dtype = TYPED[datatype]
    elements: list[Any] = [b"a", b""] if datatype == "BYTES" else [1, 0]
    typed = ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=[2])
    getattr(typed.contents, field).extend(elements)
    raw = b"\1\0\0\0a\0\0\0\0" if datatype == "BYTES" else np.array(elements, dtype).tobytes()

    def question(content: bytes) -> inputs_pb2.TensorInput:
        one = inputs_pb2.Tensor(name="x", datatype=datatype, shape=[2], raw=content)
        return inputs_pb2.TensorInput(tensors=[one])

    assert key_of(question(raw_of(typed, "inputs[0]"))) == key_of(question(raw))


@pytest.mark.parametrize("base", [generate(), tensors(), embed()], ids=["generate", "tensors", "embed"])
def test_a_task_asks_the_same_whatever_else_it_says(base: Any) -> None:
    kind = {"GenerateInput": "generate", "TensorInput": "tensors", "EmbedInput": "embed"}[
        base.DESCRIPTOR.name
    ]
    spec = task_pb2.TaskSpec(
        model="smollm2",
        priority=task_pb2.PRIORITY_CRITICAL,
        pool="other",
        retry=task_pb2.RetryPolicy(max_attempts=5),
        depends_on=[task_pb2.Dependency(index=0)],
        on_parent_failure=task_pb2.PARENT_FAILURE_POLICY_RUN,
        idempotency_key="key",
        cache=task_pb2.CACHE_MODE_REFRESH,
        labels={"a": "b"},
        inputs_from=[task_pb2.InputReference(output="text", input="name")],
        **{kind: base},
    )
    spec.not_before.GetCurrentTime()
    spec.deadline.GetCurrentTime()
    said = {field.name for field, _ in spec.ListFields()}
    assert said >= set(CHANGES_NOTHING["forebay.tasks.v1.TaskSpec"])
    assert task_question(spec) == task_question(task_pb2.TaskSpec(model="other", **{kind: base}))


def test_a_task_without_input_asks_nothing() -> None:
    with pytest.raises(ValueError, match="no input"):
        task_question(task_pb2.TaskSpec(model="smollm2"))


def test_what_decides_only_whether_a_model_is_cached_changes_no_key() -> None:
    other = replace(MODEL, stateful=True, unsteady_chats=True, draws=True)
    assert key_of(generate(), model=other) == key_of(generate())
