"""What arrives when: one row for each task, and the file format for rows that were recorded elsewhere.

A file has one JSON object a line, in any order. `time_ms`, `tenant`, `level` (critical, high, normal, low), `model` and
`execute_ms` are required; `kind`, `input_size`, `output_limit`, `output_tokens` and `deadline_ms` may be absent. Times
are in milliseconds since any one moment; `execute_ms` is how long the task executes at a runner of usual speed;
`deadline_ms` is a time like `time_ms`, not a duration.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from scheduler.states import Level


class Arrival(NamedTuple):
    """A task as its submitter knows it, and how long it will really take, which no scheduler is told."""

    time_ms: float
    tenant: str
    level: Level
    model: str
    execute_ms: float
    kind: str = ""
    input_size: int = 0
    output_limit: int = 0
    output_tokens: int = 0
    """What it will really generate."""
    deadline_ms: float = 0.0
    """On the clock of `time_ms`; 0 for none."""


class TraceFault(ValueError):
    """A line of a trace cannot be used; the message names it."""


_REQUIRED: Final = ("time_ms", "tenant", "level", "model", "execute_ms")
_LEVELS: Final = {level.label: level for level in Level}


def read_trace(path: Path) -> list[Arrival]:
    """Return the rows of a file by time. Raises OSError, and TraceFault for the first line that is none."""
    with path.open(encoding="utf-8") as file:
        rows = [_row(number, line) for number, line in enumerate(file, 1) if line.strip()]
    return sorted(rows, key=lambda row: row.time_ms)


def write_trace(path: Path, rows: Iterable[Arrival]) -> None:
    """Write rows so that `read_trace` returns them. Fields that have their default are left out."""
    defaults = Arrival._field_defaults
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            fields = {key: value for key, value in row._asdict().items() if defaults.get(key) != value}
            file.write(json.dumps({**fields, "level": row.level.label}) + "\n")


def _row(number: int, line: str) -> Arrival:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as fault:
        raise TraceFault(f"line {number}: not JSON: {fault.msg}") from None
    if not isinstance(fields, dict):
        raise TraceFault(f"line {number}: not a JSON object")
    for name in _REQUIRED:
        if name not in fields:
            raise TraceFault(f"line {number}: no {name}")
    unknown = sorted(fields.keys() - set(Arrival._fields))
    if unknown:
        raise TraceFault(f"line {number}: unknown field {unknown[0]}")
    if fields["level"] not in _LEVELS:
        raise TraceFault(f"line {number}: level {fields['level']!r} is none of {', '.join(_LEVELS)}")
    for name, value in fields.items():
        if wrong := _fault(name, value):
            raise TraceFault(f"line {number}: {name} {wrong}")
    return Arrival(**{**fields, "level": _LEVELS[fields["level"]]})


def _fault(name: str, value: object) -> str:
    """Say what is wrong with a field's value; empty for nothing."""
    wanted = Arrival.__annotations__[name]
    if wanted is str or name == "level":
        return "" if isinstance(value, str) else "must be a text"
    if isinstance(value, bool) or not isinstance(value, int if wanted is int else (int, float)):
        return "must be a whole number" if wanted is int else "must be a number"
    if name == "execute_ms" and not 0 < value < float("inf"):
        return "must be above 0"
    return "" if 0 <= value < float("inf") else "must be 0 or more"
