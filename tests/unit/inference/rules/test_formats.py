"""What is refused of a response format before anybody compiles it."""

import json
import subprocess
import sys

import pytest

from forebay.tasks.v1 import inputs_pb2
from inference.rules import format_fault, schema_fault
from inference.rules.limits import MAX_FORMAT_BYTES, MAX_SCHEMA_DEPTH


def nested(depth: int, opening: str = '{"not":', closing: str = "}") -> str:
    return opening * (depth - 1) + "{}" + closing * (depth - 1)


@pytest.mark.parametrize(
    "schema",
    [
        "{}",
        "true",
        "false",
        '{"type": "object", "properties": {"é": {"enum": [1, 2.5, null, "[[[["]}}}',
        nested(MAX_SCHEMA_DEPTH),
        json.dumps({"anyOf": [{} for _ in range(10_000)]}),
    ],
)
def test_an_object_or_a_boolean_may_be_a_schema(schema: str) -> None:
    assert schema_fault(schema) == ""


@pytest.mark.parametrize("schema", ["null", "1", '"{}"', "[{}]"])
def test_any_other_json_is_no_schema(schema: str) -> None:
    assert schema_fault(schema) == "must be a JSON object or a boolean"


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ("", "must be JSON: Expecting value in line 1, column 1"),
        ('{\n"secret"}', "must be JSON: Expecting ':' delimiter in line 2, column 9"),
        ('{"minimum": -Infinity}', "must be JSON: -Infinity is no number of JSON"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place_and_none_of_the_text(schema: str, fault: str) -> None:
    assert schema_fault(schema) == fault


def test_a_number_of_too_many_digits_is_refused() -> None:
    assert schema_fault('{"minimum": ' + "9" * 5000 + "}").startswith("must be JSON: Exceeds the limit")


@pytest.mark.parametrize(
    "schema",
    [
        nested(MAX_SCHEMA_DEPTH + 1),
        nested(MAX_SCHEMA_DEPTH, '{"enum":[', "]}"),
        nested(MAX_FORMAT_BYTES // 16),
        "[" * MAX_FORMAT_BYTES,
    ],
)
def test_a_schema_that_is_nested_too_deep_is_refused_without_recursion(schema: str) -> None:
    assert schema_fault(schema) == f"must be nested at most {MAX_SCHEMA_DEPTH} deep"


def test_a_definition_is_counted_in_bytes() -> None:
    fits = inputs_pb2.ResponseFormat(regex="é" * (MAX_FORMAT_BYTES // 2))
    assert format_fault(fits) is None
    fits.regex += "x"
    assert format_fault(fits) == ("regex", "must be 1 to 262144 bytes long, is 262145")


@pytest.mark.parametrize("kind", ["json_schema", "regex", "grammar"])
def test_no_definition_holds_nul(kind: str) -> None:
    given = inputs_pb2.ResponseFormat(**{kind: '"\0"'})  # type: ignore[arg-type]
    assert format_fault(given) == (kind, "must not hold a NUL character")


@pytest.mark.parametrize(
    "given",
    [
        inputs_pb2.ResponseFormat(text=inputs_pb2.PlainText()),
        inputs_pb2.ResponseFormat(json_object=inputs_pb2.JsonObject()),
        inputs_pb2.ResponseFormat(json_schema="{}"),
        inputs_pb2.ResponseFormat(grammar='start: "a"'),
    ],
)
def test_good_formats_are_taken(given: inputs_pb2.ResponseFormat) -> None:
    assert format_fault(given) is None


def test_the_rules_need_no_arrays_and_no_runtime() -> None:
    code = (
        "import sys, inference.rules\n"
        "print({'numpy', 'onnxruntime', 'tokenizers', 'llguidance'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
