from typing import Any

import pytest

from forebay.compat.kserve.kserve_service_pb2 import InferParameter
from scheduler.errors import InvalidInput
from scheduler.states import Level
from services.gateway.kserve.parameters import NO_OPTIONS, Options, read_options, value_of


def test_a_request_without_parameters_has_the_usual_options() -> None:
    assert read_options({}) == NO_OPTIONS == Options()


@pytest.mark.parametrize(
    ("given", "level"),
    [
        (0, Level.NORMAL),
        (1, Level.CRITICAL),
        (2, Level.HIGH),
        (3, Level.NORMAL),
        (4, Level.LOW),
        (2**64 - 1, Level.LOW),
    ]
    + [(level.name, level) for level in Level]
    + [(level.name.lower(), level) for level in Level],
)
def test_priorities_are_numbers_with_the_lowest_first_or_names(given: int | str, level: Level) -> None:
    assert read_options({"priority": given}).priority is level


def test_microseconds_are_rounded_up_to_milliseconds_and_none_means_no_limit() -> None:
    assert [read_options({"timeout": us}).timeout_ms for us in (0, 1, 1000, 1001)] == [0, 1, 1, 2]


def test_a_kind_is_a_text_or_a_number_of_63_characters_at_most_and_what_is_neither_is_left_alone() -> None:
    kinds = [read_options({"kind": given}).kind for given in ("chat", 7, "x" * 100, True, 1.5)]
    assert kinds == ["chat", "7", "x" * 63, "", ""]


def test_a_sequence_is_named_by_a_number_or_a_text_and_zero_is_none() -> None:
    named = [read_options({"sequence_id": given}).sequence for given in (0, "", 7, "seven")]
    assert named == ["", "", "7", "seven"]


@pytest.mark.parametrize("name", ["priority", "timeout", "sequence_id", "sequence_start"])
@pytest.mark.parametrize("value", [None, 1.5])
def test_a_value_that_is_of_no_use_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=rf"parameters\.{name}"):
        read_options({name: value})


def test_a_parameter_has_the_value_of_the_type_that_was_chosen_or_none() -> None:
    given = InferParameter(bool_param=False), InferParameter(uint64_param=5), InferParameter()
    assert [value_of(each) for each in given] == [False, 5, None]
