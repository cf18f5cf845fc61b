"""Rules for every field of the requests of TaskService, QueueService and ModelService.

What they refuse becomes BadRequest with field paths.
"""

import re
from typing import Final, Protocol

from forebay.tasks.v1 import task_pb2, task_service_pb2
from scheduler.errors import FieldFault, InvalidInput
from scheduler.ids import is_task_id
from services.gateway.input_validation import Faults
from services.gateway.validation import MAX_FAULTS, MAX_TASKS, check_labels, is_model
from services.gateway.waiting_validation import check_time

MAX_IDS: Final = 10_000
MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 50
MAX_PAGE_TOKEN: Final = 512
POOL_RULE: Final = "must be at most 63 lower-case letters, digits or '-'"
MODEL_RULE: Final = (
    "must be at most 128 letters, digits, '.', '_' or '-', with '@' and a version behind them for one"
)

_POOL: Final = re.compile(r"[a-z0-9-]{1,63}")
_STATES: Final = frozenset(task_pb2.TaskState.values())
_PRIORITIES: Final = frozenset(task_pb2.Priority.values())


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
        check_labels(request.selector.labels, "selector.labels", faults)
        if not request.selector.labels:
            faults.append(("selector.labels", "must have at least one label"))
        refuse(faults)


def check_output(request: task_service_pb2.StreamOutputRequest) -> None:
    """Check a StreamOutputRequest."""
    check_id(request.id)
    if request.after_sequence < 0:
        raise InvalidInput.of("after_sequence", f"must be 0 or more, is {request.after_sequence}")


class Paged(Protocol):
    """A request for a page."""

    @property
    def page_size(self) -> int:
        """Most items."""
        ...

    @property
    def page_token(self) -> str:
        """Where to go on."""
        ...


def check_list(request: task_service_pb2.ListTasksRequest | task_service_pb2.ListDeadLettersRequest) -> None:
    """Check a request for a page of what a filter matches; what its token says is checked where it is read."""
    faults: Faults = []
    _check_filter(request.filter, faults)
    check_page(request, faults)
    refuse(faults)


def check_page(request: Paged, faults: Faults) -> None:
    """Check the size of a page and the length of a token."""
    if not 0 <= request.page_size <= MAX_PAGE:
        fault = f"must be 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}, is {request.page_size}"
        faults.append(("page_size", fault))
    if len(request.page_token) > MAX_PAGE_TOKEN:
        faults.append(("page_token", "is not a page token of this server"))


Targeted = (
    task_service_pb2.CancelTasksRequest
    | task_service_pb2.ReplayTasksRequest
    | task_service_pb2.PurgeDeadLettersRequest
)
"""Requests that name tasks by id or by filter."""


def check_target(request: Targeted) -> None:
    """Check what a request names."""
    target = request.WhichOneof("target")
    if target is None:
        raise InvalidInput.of("target", "one of tasks and filter is required")
    if target == "tasks":
        _check_ids(request.tasks)
    else:
        faults: Faults = []
        _check_filter(request.filter, faults)
        refuse(faults)


def check_matching(request: task_service_pb2.CancelMatchingTasksRequest) -> None:
    """Check a CancelMatchingTasksRequest. A filter that was forgotten must not mean every task."""
    if not request.HasField("filter"):
        raise InvalidInput.of("filter", "is required; an empty one matches every task")
    faults: Faults = []
    _check_filter(request.filter, faults)
    refuse(faults)


def check_update(request: task_service_pb2.UpdateTasksRequest) -> None:
    """Check an UpdateTasksRequest."""
    _check_ids(request.tasks)
    faults: Faults = []
    if request.priority not in _PRIORITIES:
        faults.append(("priority", f"{request.priority} is not a priority"))
    if request.HasField("deadline"):
        check_time(request.deadline, "deadline", faults)
        if request.clear_deadline:
            faults.append(("clear_deadline", "must not be set together with deadline"))
    if request.HasField("not_before"):
        check_time(request.not_before, "not_before", faults)
    changes = request.priority or request.HasField("deadline") or request.HasField("not_before")
    if not changes and not request.clear_deadline:
        faults.append(("", "nothing is to be changed: give priority, deadline, not_before or clear_deadline"))
    refuse(faults)


def check_pool(pool: str) -> None:
    """Raise InvalidInput unless this is empty or can be the name of a pool."""
    if pool and not is_pool(pool):
        raise InvalidInput.of("pool", POOL_RULE)


def is_pool(pool: str) -> bool:
    """Whether this can be the name of a pool."""
    return _POOL.fullmatch(pool) is not None


def check_model(model: str) -> None:
    """Raise InvalidInput unless this is empty or can be the name of a model."""
    if model and not is_model(model):
        raise InvalidInput.of("model", MODEL_RULE)


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
    if wanted.model and not is_model(wanted.model):
        faults.append(("filter.model", MODEL_RULE))
    if wanted.pool and not is_pool(wanted.pool):
        faults.append(("filter.pool", POOL_RULE))
    check_labels(wanted.labels, "filter.labels", faults)


def _check_ids(named: task_service_pb2.TaskIds) -> None:
    if not 1 <= len(named.ids) <= MAX_IDS:
        raise InvalidInput.of("tasks.ids", f"must have 1 to {MAX_IDS} ids, has {len(named.ids)}")
    refuse(
        [
            (f"tasks.ids[{index}]", "is not the id of a task")
            for index, task_id in enumerate(named.ids)
            if not is_task_id(task_id)
        ]
    )


def refuse(faults: Faults) -> None:
    """Raise InvalidInput when there is a fault."""
    if faults:
        raise InvalidInput([FieldFault(field, fault) for field, fault in faults[:MAX_FAULTS]])
