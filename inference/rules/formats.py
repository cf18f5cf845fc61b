"""What can be wrong with a response format before anybody compiles it. Compiling is the runner's."""

import json
from functools import lru_cache
from typing import Final

from forebay.tasks.v1 import inputs_pb2
from inference.rules.limits import MAX_FORMAT_BYTES, MAX_SCHEMA_DEPTH

_TOO_DEEP: Final = f"must be nested at most {MAX_SCHEMA_DEPTH} deep"
_CACHED: Final = 32
"""Schemas whose verdict is kept: tasks of one call mostly share theirs, and the longest takes milliseconds to read."""


def format_fault(given: inputs_pb2.ResponseFormat) -> tuple[str, str] | None:
    """Return the field and the fault of a format; None when there is none."""
    kind = given.WhichOneof("format")
    if kind is None:
        return "format", "one of text, json_object, json_schema, regex and grammar is required"
    if kind in ("text", "json_object"):
        return None
    definition: str = getattr(given, kind)
    size = len(definition.encode())
    if not 1 <= size <= MAX_FORMAT_BYTES:
        return kind, f"must be 1 to {MAX_FORMAT_BYTES} bytes long, is {size}"
    if "\0" in definition:
        return kind, "must not hold a NUL character"
    if kind == "json_schema" and (fault := schema_fault(definition)):
        return kind, fault
    return None


@lru_cache(maxsize=_CACHED)
def schema_fault(text: str) -> str:
    """Say why a text can be no JSON Schema, without a part of it; empty when it may be one."""
    try:
        schema = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"must be JSON: {error.msg} in line {error.lineno}, column {error.colno}"
    except RecursionError:
        return _TOO_DEEP
    except ValueError as error:
        # NaN and infinities, and integers of more digits than Python converts.
        return f"must be JSON: {error}"
    if not isinstance(schema, dict | bool):
        return "must be a JSON object or a boolean"
    return _TOO_DEEP if _deeper(schema, MAX_SCHEMA_DEPTH) else ""


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no number of JSON")


def _deeper(value: object, limit: int) -> bool:
    """Whether more than so many objects and arrays are inside each other. Level by level: recursion has limits too."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
