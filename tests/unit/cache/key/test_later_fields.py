"""Fields of a later version of the contract are noticed, wherever they are."""

from collections.abc import Callable
from typing import Any

import pytest

from cache.key.reading import task_question
from forebay.tasks.v1 import inputs_pb2, task_pb2
from tests.unit.cache.key.asking import asked, chat, embed, generate, key_of, tensors

UNKNOWN = b"\xc2\x3e\x01x"
"""Field 1000 with the value "x"."""


def spread(message: Any) -> list[Any]:
    """Return a message and every message that is inside it."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else [value]:
                found += spread(inner)
    return found


def formatted() -> inputs_pb2.GenerateInput:
    return inputs_pb2.GenerateInput(
        prompt="a", response_format=inputs_pb2.ResponseFormat(json_object=inputs_pb2.JsonObject())
    )


@pytest.mark.parametrize("make", [generate, chat, formatted, tensors, embed])
def test_a_field_of_a_later_contract_is_noticed_wherever_it_is(make: Callable[[], Any]) -> None:
    assert not asked(make()).asked.unread
    for index in range(len(spread(make()))):
        message = make()
        spread(message)[index].MergeFromString(UNKNOWN)
        assert asked(message).asked.unread, index
        assert key_of(message) == key_of(make())


def test_a_field_of_a_later_contract_is_noticed_in_a_task() -> None:
    spec = task_pb2.TaskSpec(embed=embed())
    assert not task_question(spec).unread
    spec.MergeFromString(UNKNOWN)
    assert task_question(spec).unread
