"""Questions and keys of tests."""

from collections.abc import Sequence
from typing import Final

from cache.key import Keys, Model, Question
from cache.key.reading import embed_question, generate_question, tensor_question
from cache.ports import Key
from forebay.tasks.v1 import inputs_pb2

KEYS: Final = Keys(b"a secret of some thirty-two bytes")
MODEL: Final = Model("smollm2", 3, b"identity" * 4)
Input = inputs_pb2.GenerateInput | inputs_pb2.TensorInput | inputs_pb2.EmbedInput


def asked(message: Input, outputs: Sequence[tuple[str, int]] = (), model: Model = MODEL) -> Question:
    """Return the question that a message asks of a model."""
    if isinstance(message, inputs_pb2.GenerateInput):
        return Question(model, generate_question(message))
    if isinstance(message, inputs_pb2.TensorInput):
        return Question(model, tensor_question(message, outputs))
    return Question(model, embed_question(message))


def key_of(message: Input, outputs: Sequence[tuple[str, int]] = (), model: Model = MODEL) -> Key:
    """Return the key of a message that one tenant sends."""
    return KEYS.key("tenant", asked(message, outputs, model))


def generate() -> inputs_pb2.GenerateInput:
    """Return a generation in which every field counts: it is drawn, with a seed."""
    return inputs_pb2.GenerateInput(prompt="Hello", temperature=0.5, seed=7)


def chat() -> inputs_pb2.GenerateInput:
    """Return a greedy chat of one message."""
    message = inputs_pb2.ChatMessage(role="user", parts=[inputs_pb2.ContentPart(text="Hello")])
    return inputs_pb2.GenerateInput(messages=inputs_pb2.ChatMessages(messages=[message]))


def tensors() -> inputs_pb2.TensorInput:
    """Return two tensors."""
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=bytes(8))
    other = inputs_pb2.Tensor(name="y", datatype="INT32", shape=[2], raw=bytes(8))
    return inputs_pb2.TensorInput(tensors=[one, other])


def embed() -> inputs_pb2.EmbedInput:
    """Return two texts."""
    return inputs_pb2.EmbedInput(texts=["one", "two"], normalize=True)
