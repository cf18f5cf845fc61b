"""Rules for every field of every request of TaskService. What they refuse becomes BadRequest with field paths.

A valid task of a few small tensors costs about 3 µs: the rules run for each of up to 1000 tasks of a call.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.errors import FieldFault, InvalidInput
from scheduler.ids import is_task_id
from services.gateway.input_validation import Faults, check_generate, check_tensors

MAX_TASKS: Final = 1000
MAX_TASK_BYTES: Final = 1 << 20
MAX_IDS: Final = 10_000
MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 50
MAX_PAGE_TOKEN: Final = 512
MAX_ATTEMPTS: Final = 100
MAX_KEY: Final = 256
MAX_LABELS: Final = 32
MAX_LABEL_KEY: Final = 63
MAX_LABEL_VALUE: Final = 255
MAX_FAULTS: Final = 32
"""Faults shown of one task or request: an answer stays small however bad the request is."""

_MODEL: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_POOL: Final = re.compile(r"[a-z0-9-]{1,63}")
# 9999-12-31T23:59:59Z, the last second of a google.protobuf.Timestamp.
_LAST_SECOND: Final = 253_402_300_799
_STATES: Final = frozenset(task_pb2.TaskState.values())
_PRIORITIES: Final = frozenset(task_pb2.Priority.values())
_INPUT_REQUIRED: Final = "one of generate and tensors is required"


def spec_faults(spec: task_pb2.TaskSpec, pools: Collection[str]) -> Faults:
    """Return what is wrong with a task, as (path relative to it, fault); nothing for a valid one."""
    faults: Faults = []
    if not _is_model(spec.model):
        rule = "must be 1 to 128 letters, digits, '.', '_' or '-'"
        faults.append(("model", rule if spec.model else f"is required and {rule}"))
    kind = spec.WhichOneof("input")
    if kind == "tensors":
        check_tensors(spec.tensors, faults)
    elif kind == "generate":
        check_generate(spec.generate, faults)
    else:
        faults.append(("input", _INPUT_REQUIRED))
    if not 0 <= spec.priority <= 4:
        faults.append(("priority", f"{spec.priority} is not a priority"))
    if spec.pool and spec.pool not in pools:
        faults.append(("pool", f"there is no such pool; there is {', '.join(sorted(pools))}"))
    if spec.HasField("deadline"):
        _check_deadline(spec.deadline, faults)
    if spec.HasField("retry") and not 0 <= spec.retry.max_attempts <= MAX_ATTEMPTS:
        fault = f"must be 1 to {MAX_ATTEMPTS}, or 0 for the default, is {spec.retry.max_attempts}"
        faults.append(("retry.max_attempts", fault))
    if len(spec.idempotency_key) > MAX_KEY:
        faults.append(("idempotency_key", f"must be at most {MAX_KEY} characters long"))
    if spec.labels:
        _check_labels(spec.labels, "labels", faults)
    return faults


def invalid_spec(index: int, faults: Faults) -> InvalidInput:
    """Return the error of one task of a call."""
    shown = faults[:MAX_FAULTS]
    return InvalidInput([FieldFault(f"tasks[{index}].{field}".rstrip("."), fault) for field, fault in shown])


def check_task_count(count: int) -> None:
    """Raise InvalidInput unless a call may bring that many tasks."""
    if not 1 <= count <= MAX_TASKS:
        raise InvalidInput.of("tasks", f"must have 1 to {MAX_TASKS} tasks, has {count}")


def check_id(task_id: str) -> None:
    """Raise InvalidInput unless this can be the id of a task."""
    if not is_task_id(task_id):
        raise InvalidInput.of("id", "is not the id of a task" if task_id else "is required")


def check_watch(request: task_service_pb2.WatchTasksRequest) -> None:
    """Check a WatchTasksRequest."""
    target = request.WhichOneof("target")
    if target is None:
        raise InvalidInput.of("target", "one of tasks, selector and all is required")
    if target == "tasks":
        _check_ids(request.tasks)
    elif target == "selector":
        faults: Faults = []
        _check_labels(request.selector.labels, "selector.labels", faults)
        if not request.selector.labels:
            faults.append(("selector.labels", "must have at least one label"))
        _refuse(faults)


def check_output(request: task_service_pb2.StreamOutputRequest) -> None:
    """Check a StreamOutputRequest."""
    check_id(request.id)
    if request.after_sequence < 0:
        raise InvalidInput.of("after_sequence", f"must be 0 or more, is {request.after_sequence}")


def check_list(request: task_service_pb2.ListTasksRequest) -> None:
    """Check a ListTasksRequest; what its token says is checked where it is read."""
    faults: Faults = []
    _check_filter(request.filter, faults)
    if not 0 <= request.page_size <= MAX_PAGE:
        faults.append(
            ("page_size", f"must be 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}, is {request.page_size}")
        )
    if len(request.page_token) > MAX_PAGE_TOKEN:
        faults.append(("page_token", "is not a page token of this server"))
    _refuse(faults)


def check_cancel(request: task_service_pb2.CancelTasksRequest) -> None:
    """Check a CancelTasksRequest."""
    target = request.WhichOneof("target")
    if target is None:
        raise InvalidInput.of("target", "one of tasks and filter is required")
    if target == "tasks":
        _check_ids(request.tasks)
    else:
        faults: Faults = []
        _check_filter(request.filter, faults)
        _refuse(faults)


def check_pool(pool: str) -> None:
    """Raise InvalidInput unless this is empty or can be the name of a pool."""
    if pool and not _POOL.fullmatch(pool):
        raise InvalidInput.of("pool", "must be at most 63 lower-case letters, digits or '-'")


def check_model(model: str) -> None:
    """Raise InvalidInput unless this is empty or can be the name of a model."""
    if model and not _is_model(model):
        raise InvalidInput.of("model", "must be at most 128 letters, digits, '.', '_' or '-'")


@lru_cache(maxsize=4096)
def _is_model(name: str) -> bool:
    return _MODEL.fullmatch(name) is not None


def _check_deadline(deadline: Timestamp, faults: Faults) -> None:
    if not 0 <= deadline.nanos < 1_000_000_000:
        faults.append(("deadline.nanos", f"must be 0 to 999999999, is {deadline.nanos}"))
    if not 0 < deadline.seconds <= _LAST_SECOND:
        faults.append(("deadline.seconds", "must be after 1970 and before the year 10000"))


def _check_labels(labels: Mapping[str, str], path: str, faults: Faults) -> None:
    if len(labels) > MAX_LABELS:
        faults.append((path, f"must be at most {MAX_LABELS}, are {len(labels)}"))
        return
    for key, value in labels.items():
        if not 1 <= len(key) <= MAX_LABEL_KEY:
            faults.append((path, f"a key must be 1 to {MAX_LABEL_KEY} characters long, one has {len(key)}"))
        elif len(value) > MAX_LABEL_VALUE:
            fault = f"must be at most {MAX_LABEL_VALUE} characters long, is {len(value)}"
            faults.append((f'{path}["{key}"]', fault))


def _check_filter(wanted: task_service_pb2.TaskFilter, faults: Faults) -> None:
    faults += [
        (f"filter.states[{index}]", f"{state} is not a state")
        for index, state in enumerate(wanted.states)
        if state not in _STATES
    ]
    faults += [
        (f"filter.priorities[{index}]", f"{priority} is not a priority")
        for index, priority in enumerate(wanted.priorities)
        if priority not in _PRIORITIES
    ]
    if wanted.model and not _is_model(wanted.model):
        faults.append(("filter.model", "must be at most 128 letters, digits, '.', '_' or '-'"))
    if wanted.pool and not _POOL.fullmatch(wanted.pool):
        faults.append(("filter.pool", "must be at most 63 lower-case letters, digits or '-'"))
    _check_labels(wanted.labels, "filter.labels", faults)


def _check_ids(named: task_service_pb2.TaskIds) -> None:
    if not 1 <= len(named.ids) <= MAX_IDS:
        raise InvalidInput.of("tasks.ids", f"must have 1 to {MAX_IDS} ids, has {len(named.ids)}")
    _refuse(
        [
            (f"tasks.ids[{index}]", "is not the id of a task")
            for index, task_id in enumerate(named.ids)
            if not is_task_id(task_id)
        ]
    )


def _refuse(faults: Faults) -> None:
    if faults:
        raise InvalidInput([FieldFault(field, fault) for field, fault in faults[:MAX_FAULTS]])
