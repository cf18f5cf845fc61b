"""Every field of a request is decided on; those that can change the answer change the key, one by one."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from cache.key.question import GenerateQuestion
from forebay.tasks.v1 import inputs_pb2
from tests.unit.cache.key.asking import MODEL, chat, embed, generate, key_of, tensors
from tests.unit.cache.key.decisions import CHANGES_ANSWER, CHANGES_NOTHING, every_message

Change = Callable[[Any], object]


def changed(message: Any, field: FieldDescriptor) -> Any:
    """Return a copy of a message with another value in a field, whatever the kind of the field."""
    copy = type(message)()
    copy.CopyFrom(message)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(copy, field.name)[5] = 0.25
    elif field.is_repeated:
        getattr(copy, field.name).append(other_value(field))
    elif field.message_type is None:
        setattr(copy, field.name, other_value(field, getattr(message, field.name)))
    else:
        inner = getattr(copy, field.name)
        inner.SetInParent()
        if field.message_type.fields:
            inner.CopyFrom(changed(inner, field.message_type.fields[-1]))
    return copy


def other_value(field: FieldDescriptor, value: Any = None) -> Any:
    if field.message_type is not None:
        made: Any = getattr(inputs_pb2, field.message_type.name)()
        return changed(made, field.message_type.fields[0])
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return (value or b"") + b"x"
        case FieldDescriptor.CPPTYPE_STRING:
            return (value or "") + "x"
        case FieldDescriptor.CPPTYPE_BOOL:
            return not value
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return 0.25
        case _:
            return (value or 0) + 3


def test_for_each_field_of_a_request_it_is_decided_whether_it_can_change_the_answer() -> None:
    messages = every_message()
    assert CHANGES_ANSWER.keys() <= messages.keys()
    assert CHANGES_NOTHING.keys() <= messages.keys()
    for name, message in messages.items():
        counting, other = CHANGES_ANSWER.get(name, ()), CHANGES_NOTHING.get(name, ())
        assert sorted([*counting, *other]) == sorted(field.name for field in message.fields), name


@pytest.mark.parametrize(
    "base", [generate(), chat(), tensors(), embed()], ids=["prompt", "chat", "tensors", "embed"]
)
def test_every_field_of_an_input_changes_the_key_and_no_two_in_the_same_way(base: Any) -> None:
    keys = {key_of(base)}
    fields = base.DESCRIPTOR.fields
    for field in fields:
        if base.DESCRIPTOR.name == "GenerateInput" and not base.HasField("seed") and field.name in DRAWN:
            continue  # these count when something is drawn
        keys.add(key_of(changed(base, field)))
    uncounted = 0 if base.DESCRIPTOR.name != "GenerateInput" or base.HasField("seed") else len(DRAWN)
    assert len(keys) == 1 + len(fields) - uncounted


DRAWN = ("top_p", "top_k", "min_p", "seed")


@pytest.mark.parametrize(
    "field", list(inputs_pb2.ResponseFormat.DESCRIPTOR.fields), ids=lambda field: field.name
)
def test_a_format_changes_the_key_unless_it_is_plain_text(field: FieldDescriptor) -> None:
    base = generate()
    other = generate()
    other.response_format.CopyFrom(changed(inputs_pb2.ResponseFormat(), field))
    assert (key_of(other) == key_of(base)) is (field.name == "text")


def test_formats_with_one_definition_are_told_apart_by_their_kind() -> None:
    keys = set()
    for kind in ("json_schema", "regex", "grammar"):
        message = generate()
        setattr(message.response_format, kind, "true")
        keys.add(key_of(message))
    assert len(keys) == 3


@pytest.mark.parametrize("field", list(inputs_pb2.Tensor.DESCRIPTOR.fields), ids=lambda field: field.name)
def test_every_field_of_a_tensor_changes_the_key(field: FieldDescriptor) -> None:
    other = tensors()
    other.tensors[0].CopyFrom(changed(other.tensors[0], field))
    assert key_of(other) != key_of(tensors())


@pytest.mark.parametrize(
    "change",
    [
        lambda one: setattr(one.messages.messages[0], "role", "system"),
        lambda one: setattr(one.messages.messages[0].parts[0], "text", "Hello!"),
        lambda one: one.messages.messages[0].parts.add(text="!"),
        lambda one: one.messages.messages.add(role="user").parts.add(text="Hello"),
        lambda one: one.messages.messages.add(role="user").parts.add(),
    ],
)
def test_a_change_inside_a_chat_changes_the_key(change: Change) -> None:
    other = chat()
    change(other)
    assert key_of(other) != key_of(chat())


def test_a_prompt_is_not_a_chat_with_the_same_text() -> None:
    assert len({key_of(inputs_pb2.GenerateInput(prompt="Hello")), key_of(chat()), key_of(embed())}) == 3


def test_the_order_of_texts_messages_and_wanted_outputs_changes_the_key() -> None:
    assert key_of(inputs_pb2.EmbedInput(texts=["two", "one"])) != key_of(embed())
    assert key_of(tensors(), [("a", 0), ("b", 0)]) != key_of(tensors(), [("b", 0), ("a", 0)])
    ways = []
    for roles in (("user", "assistant"), ("assistant", "user")):
        message = inputs_pb2.GenerateInput()
        for role in roles:
            message.messages.messages.add(role=role).parts.add(text="x")
        ways.append(key_of(message))
    assert ways[0] != ways[1]


@pytest.mark.parametrize("outputs", [[("z", 0)], [("z", 1)], [("z", 2)], [("z", 0), ("w", 0)], [("w", 0)]])
def test_which_outputs_are_wanted_and_how_many_classes_changes_the_key(
    outputs: Sequence[tuple[str, int]],
) -> None:
    every: list[Sequence[tuple[str, int]]] = [
        [],
        [("z", 0)],
        [("z", 1)],
        [("z", 2)],
        [("z", 0), ("w", 0)],
        [("w", 0)],
    ]
    assert [one for one in every if key_of(tensors(), one) == key_of(tensors(), outputs)] == [outputs]


def test_equal_bytes_of_another_datatype_or_shape_are_another_question() -> None:
    raw = struct.pack("<2f", 1, 2)
    ways = [("FP32", [2]), ("INT32", [2]), ("FP32", [1, 2]), ("FP32", [2, 1]), ("FP64", [1]), ("UINT8", [8])]
    keys = {
        key_of(
            inputs_pb2.TensorInput(tensors=[inputs_pb2.Tensor(name="x", datatype=kind, shape=shape, raw=raw)])
        )
        for kind, shape in ways
    }
    assert len(keys) == len(ways)


@pytest.mark.parametrize(
    "other",
    [
        replace(MODEL, name="smollm"),
        replace(MODEL, version=4),
        replace(MODEL, identity=b"another!" * 4),
    ],
)
def test_another_model_version_or_identity_changes_the_key(other: Any) -> None:
    assert key_of(generate(), model=other) != key_of(generate())
    assert key_of(tensors(), model=other) != key_of(tensors())
    assert key_of(embed(), model=other) != key_of(embed())


def test_a_question_of_a_generation_has_a_field_for_each_of_the_message() -> None:
    message = {field.name for field in inputs_pb2.GenerateInput.DESCRIPTOR.fields}
    question = {"response_format" if name == "format" else name for name in GenerateQuestion.__slots__}
    assert question == {*message, "unread"}
