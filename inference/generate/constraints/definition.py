"""From what a request asks for to the library's own description of a grammar."""

import json
from typing import Final

from llguidance import LLMatcher, regex_to_lark

from inference.engine import FormatKind, ResponseFormat
from inference.generate.constraints.limits import WHITESPACE
from scheduler.errors import InvalidInput

FIELD: Final = "generate.response_format"
"""Where faults are."""


def grammar_of(wanted: ResponseFormat, limit_bytes: int) -> str:
    """Return the grammar. Cheap. Raises InvalidInput for what is empty, too long or no JSON."""
    definition = wanted.definition
    if wanted.kind is FormatKind.JSON_OBJECT:
        return _json_grammar('{"type":"object"}')
    try:
        size = len(definition.encode())
    except UnicodeEncodeError:
        raise InvalidInput.of(FIELD, "holds half of a surrogate pair")
    if size > limit_bytes:
        raise InvalidInput.of(FIELD, f"has {size} bytes; at most {limit_bytes} are taken")
    if "\0" in definition:
        raise InvalidInput.of(FIELD, "holds a NUL character")
    if wanted.kind is FormatKind.JSON_SCHEMA:
        return _json_grammar(_checked(definition))
    if wanted.kind is FormatKind.REGEX:
        if (len(definition) - len(definition.rstrip("\\"))) % 2:
            raise InvalidInput.of(FIELD, "has a regular expression that ends in the middle of an escape")
        # \d is an ASCII digit, as in the patterns of JSON schemas: who asks for digits wants numbers that can be read.
        return LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(definition, 'd')}/")
    if not definition.strip():
        raise InvalidInput.of(FIELD, "has an empty grammar")
    return LLMatcher.grammar_from_lark(definition)


def _checked(definition: str) -> str:
    """Return a JSON schema as the library takes it, which is as an object."""
    try:
        schema = json.loads(definition)
    except json.JSONDecodeError as error:
        raise InvalidInput.of(FIELD, f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    except RecursionError:
        raise InvalidInput.of(FIELD, "is nested too deeply")
    except ValueError:  # a number of thousands of digits
        raise InvalidInput.of(FIELD, "holds a number that is too long")
    if schema is True:
        return "{}"
    if schema is False:
        raise InvalidInput.of(FIELD, "allows no answer at all")
    if not isinstance(schema, dict):
        raise InvalidInput.of(FIELD, "must be a JSON object or a boolean")
    return definition


def _json_grammar(schema: str) -> str:
    try:
        return LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_pattern": WHITESPACE})
    except ValueError as error:
        if "recursion" in str(error):
            raise InvalidInput.of(FIELD, "is nested too deeply")
        raise InvalidInput.of(FIELD, "is not JSON")
