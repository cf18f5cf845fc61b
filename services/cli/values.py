"""Values of the client as JSON: keys as in the contract (snake_case), times in ISO 8601, nothing lost that JSON has."""

import base64
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

DIGITS: Final = 6
"""Of seconds and rates after the point."""

Json = dict[str, Any] | list[Any] | str | int | float | bool | None


def plain(value: object) -> Json:
    """Turn a value of the client into what JSON can hold."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        # As the contract's JSON has it.
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, float):
        # JSON has no NaN and no infinity.
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return _text_or_base64(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, BaseException):
        return _error(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _field(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if hasattr(value, "tolist") and hasattr(value, "shape"):
        return {"datatype": str(value.dtype), "shape": list(value.shape), "data": plain(value.tolist())}  # type: ignore[attr-defined]
    if hasattr(value, "DESCRIPTOR"):
        # Only answers that carry a whole spec pay for this import.
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(value, preserving_proto_field_name=True)  # type: ignore[arg-type]
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def as_json(value: object, *, one_line: bool = False) -> str:
    """Write a value as a JSON document: indented for reading, or on one line for streams."""
    return json.dumps(plain(value), ensure_ascii=False, indent=None if one_line else 2)


def _field(name: str, value: object) -> Json:
    """A field of a client's value. What was measured is rounded; numbers that a model computed never are."""
    measured = isinstance(value, float) and (name.startswith("share") or name.endswith(("_s", "_per_second")))
    return plain(round(value, DIGITS) if measured and isinstance(value, float) else value)


def _error(error: BaseException) -> dict[str, Json]:
    """An error of a task: its code, its stable reason, its message, and the fields that it names."""
    faults = [plain(fault) for fault in getattr(error, "faults", ())]
    found: dict[str, Json] = {
        "code": getattr(getattr(error, "code", None), "name", "UNKNOWN"),
        "reason": str(getattr(error, "reason", "")),
        "message": str(error),
    }
    return {**found, "faults": faults} if faults else found


def _text_or_base64(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(value).decode("ascii")
