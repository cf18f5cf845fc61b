"""Rules for the fields of a TaskSpec that say when it may start and how often: times, retries, parents, and what it
takes of them. Functions add (relative field path, fault) pairs to a list.

What takes other tasks to know (whether a parent exists, cycles) is checked in `dependencies.py` and `submit.py`.
"""

from collections.abc import Iterator
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from forebay.tasks.v1 import inputs_pb2, task_pb2
from scheduler.ids import is_task_id
from services.gateway.input_validation import Faults

MAX_ATTEMPTS: Final = 100
MAX_INITIAL_BACKOFF_S: Final = 3600
MAX_BACKOFF_S: Final = 24 * 3600
MAX_MULTIPLIER: Final = 10
MAX_PARENTS: Final = 1000
MAX_REFERENCES: Final = 64
MAX_REFERENCE: Final = 256
TEXT_OUTPUT: Final = "text"
"""The one output of a generation."""

# 9999-12-31T23:59:59Z, the last second of a google.protobuf.Timestamp.
_LAST_SECOND: Final = 253_402_300_799


def check_time(time: Timestamp, field: str, faults: Faults) -> None:
    """Check a moment that a task is given."""
    if not 0 <= time.nanos < 1_000_000_000:
        faults.append((f"{field}.nanos", f"must be 0 to 999999999, is {time.nanos}"))
    if not 0 < time.seconds <= _LAST_SECOND:
        faults.append((f"{field}.seconds", "must be after 1970 and before the year 10000"))


def check_duration(duration: Duration, field: str, least_s: float, most_s: float, faults: Faults) -> None:
    """Check a duration: well formed, and from `least_s` to `most_s` seconds long."""
    if not 0 <= duration.nanos < 1_000_000_000 or duration.seconds < 0:
        faults.append((field, "must not be negative, and its nanos must be 0 to 999999999"))
    elif not least_s <= duration.seconds + duration.nanos / 1e9 <= most_s:
        faults.append((field, f"must be {least_s:.12g} to {most_s:.12g} seconds"))


def check_retry(retry: task_pb2.RetryPolicy, faults: Faults) -> None:
    """Check every field of a RetryPolicy."""
    if not 0 <= retry.max_attempts <= MAX_ATTEMPTS:
        fault = f"must be 1 to {MAX_ATTEMPTS}, or 0 for the default, is {retry.max_attempts}"
        faults.append(("retry.max_attempts", fault))
    if retry.HasField("initial_backoff"):
        check_duration(retry.initial_backoff, "retry.initial_backoff", 0, MAX_INITIAL_BACKOFF_S, faults)
    if retry.HasField("max_backoff"):
        check_duration(retry.max_backoff, "retry.max_backoff", 0, MAX_BACKOFF_S, faults)
    # Comparisons with NaN are false: "not inside" refuses it.
    if retry.multiplier and not 1 <= retry.multiplier <= MAX_MULTIPLIER:
        faults.append(("retry.multiplier", f"must be 1 to {MAX_MULTIPLIER}, or 0 for the default"))


def check_dependencies(spec: task_pb2.TaskSpec, faults: Faults) -> None:
    """Check what can be told of parents without knowing other tasks."""
    if len(spec.depends_on) > MAX_PARENTS:
        faults.append(("depends_on", f"must be at most {MAX_PARENTS}, are {len(spec.depends_on)}"))
        return
    seen: set[str | int] = set()
    for place, dependency in enumerate(spec.depends_on):
        kind = dependency.WhichOneof("task")
        if kind is None:
            faults.append((f"depends_on[{place}]", "one of id and index is required"))
            continue
        parent = dependency.id if kind == "id" else dependency.index
        if isinstance(parent, str) and not is_task_id(parent):
            faults.append((f"depends_on[{place}].id", "is not the id of a task"))
        elif parent in seen:
            faults.append((f"depends_on[{place}].{kind}", "names a task that was named before"))
        seen.add(parent)


def check_references(spec: task_pb2.TaskSpec, faults: Faults) -> None:
    """Check what is taken of parents: each place is filled once, and is there (a placeholder) or free (a tensor)."""
    if len(spec.inputs_from) > MAX_REFERENCES:
        faults.append(("inputs_from", f"must be at most {MAX_REFERENCES}, are {len(spec.inputs_from)}"))
        return
    parents, kind = len(spec.depends_on), spec.WhichOneof("input")
    texts = list(_texts(spec.generate)) if kind == "generate" and spec.inputs_from else []
    given = {tensor.name for tensor in spec.tensors.tensors} if kind == "tensors" else set()
    filled: set[str] = set()
    for place, reference in enumerate(spec.inputs_from):
        path = f"inputs_from[{place}]"
        if not 0 <= reference.parent < parents:
            fault = f"must be the place of one of the {parents} tasks of depends_on, is {reference.parent}"
            faults.append((f"{path}.parent", fault))
        if not 1 <= len(reference.output) <= MAX_REFERENCE:
            faults.append((f"{path}.output", f"must be 1 to {MAX_REFERENCE} characters long"))
        elif kind == "generate" and reference.output != TEXT_OUTPUT:
            faults.append((f"{path}.output", f'must be "{TEXT_OUTPUT}": a generation takes text only'))
        elif kind == "embed":
            faults.append((path, "an embedding takes nothing of its parents"))
        if not 1 <= len(reference.input) <= MAX_REFERENCE:
            faults.append((f"{path}.input", f"must be 1 to {MAX_REFERENCE} characters long"))
        elif reference.input in filled:
            faults.append((f"{path}.input", "is filled by another reference already"))
        elif kind == "tensors" and reference.input in given:
            faults.append((f"{path}.input", "is given by tensors already"))
        elif kind == "generate" and not any(f"{{{{{reference.input}}}}}" in text for text in texts):
            faults.append((f"{path}.input", "does not occur in the prompt or the messages as {{name}}"))
        filled.add(reference.input)


def _texts(generate: inputs_pb2.GenerateInput) -> Iterator[str]:
    yield generate.prompt
    for message in generate.messages.messages:
        for part in message.parts:
            yield part.text
