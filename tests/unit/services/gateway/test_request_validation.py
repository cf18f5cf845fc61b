"""Rules for requests, each with what breaks it."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from forebay.tasks.v1 import task_service_pb2
from scheduler.errors import InvalidInput
from services.gateway import request_validation as rules

GOOD_ID = "07-01kaj5x3c9f0e8q4v2m7t1b6zd"

Refusal = tuple[Callable[[Any], None], Any, str]
WATCH, OUTPUT = task_service_pb2.WatchTasksRequest, task_service_pb2.StreamOutputRequest
LIST, CANCEL = task_service_pb2.ListTasksRequest, task_service_pb2.CancelTasksRequest
MATCHING = task_service_pb2.CancelMatchingTasksRequest
IDS = task_service_pb2.TaskIds
FILTER: Any = task_service_pb2.TaskFilter
SELECTOR = task_service_pb2.LabelSelector
UPDATE: Any = task_service_pb2.UpdateTasksRequest
REPLAY, PURGE = task_service_pb2.ReplayTasksRequest, task_service_pb2.PurgeDeadLettersRequest
LETTERS = task_service_pb2.ListDeadLettersRequest
ONE = IDS(ids=[GOOD_ID])

REFUSED: list[Refusal] = [
    (rules.check_id, "", "id"),
    (rules.check_id, "99-" + GOOD_ID[3:], "id"),
    (rules.check_watch, WATCH(), "target"),
    (rules.check_watch, WATCH(tasks=IDS()), "tasks.ids"),
    (rules.check_watch, WATCH(tasks=IDS(ids=[GOOD_ID, "x"])), "tasks.ids[1]"),
    (rules.check_watch, WATCH(tasks=IDS(ids=[GOOD_ID] * 10_001)), "tasks.ids"),
    (rules.check_watch, WATCH(selector=SELECTOR()), "selector.labels"),
    (rules.check_watch, WATCH(selector=SELECTOR(labels={"": "x"})), "selector.labels"),
    (rules.check_output, OUTPUT(id="x"), "id"),
    (rules.check_output, OUTPUT(id=GOOD_ID, after_sequence=-1), "after_sequence"),
    (rules.check_list, LIST(page_size=-1), "page_size"),
    (rules.check_list, LIST(page_size=1001), "page_size"),
    (rules.check_list, LIST(page_token="x" * 513), "page_token"),
    (rules.check_list, LIST(filter=FILTER(states=[1, 77])), "filter.states[1]"),
    (rules.check_list, LIST(filter=FILTER(priorities=[77])), "filter.priorities[0]"),
    (rules.check_list, LIST(filter=FILTER(model="a b")), "filter.model"),
    (rules.check_list, LIST(filter=FILTER(pool="A")), "filter.pool"),
    (rules.check_list, LIST(filter=FILTER(labels={"k": "v" * 256})), 'filter.labels["k"]'),
    (rules.check_target, CANCEL(), "target"),
    (rules.check_target, CANCEL(tasks=IDS(ids=["x"])), "tasks.ids[0]"),
    (rules.check_target, CANCEL(filter=FILTER(states=[77])), "filter.states[0]"),
    (rules.check_target, REPLAY(), "target"),
    (rules.check_target, PURGE(tasks=IDS()), "tasks.ids"),
    (rules.check_matching, MATCHING(), "filter"),
    (rules.check_matching, MATCHING(filter=FILTER(labels={"": "x"})), "filter.labels"),
    (rules.check_list, LETTERS(page_size=-1), "page_size"),
    (rules.check_update, UPDATE(tasks=IDS(), clear_deadline=True), "tasks.ids"),
    (rules.check_update, UPDATE(tasks=ONE), ""),
    (rules.check_update, UPDATE(tasks=ONE, priority=7), "priority"),
    (rules.check_update, UPDATE(tasks=ONE, deadline=Timestamp()), "deadline.seconds"),
    (rules.check_update, UPDATE(tasks=ONE, not_before=Timestamp(seconds=1, nanos=-1)), "not_before.nanos"),
    (
        rules.check_update,
        UPDATE(tasks=ONE, deadline=Timestamp(seconds=5), clear_deadline=True),
        "clear_deadline",
    ),
    (rules.check_pool, "A", "pool"),
    (rules.check_model, "a b", "model"),
]


@pytest.mark.parametrize(("check", "request_", "field"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_a_request_is_refused_by_field(check: Callable[[Any], None], request_: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(request_)
    assert [fault.field for fault in refused.value.faults] == [field]


@pytest.mark.parametrize(
    ("check", "request_"),
    [
        (rules.check_id, GOOD_ID),
        (rules.check_watch, WATCH(tasks=IDS(ids=[GOOD_ID]))),
        (rules.check_watch, WATCH(selector=SELECTOR(labels={"a": "b"}))),
        (rules.check_watch, WATCH(all=task_service_pb2.AllTasks())),
        (rules.check_output, OUTPUT(id=GOOD_ID)),
        (rules.check_list, LIST()),
        (rules.check_list, LIST(filter=FILTER(states=[0, 9], priorities=[0, 4], model="m", pool="p"))),
        (rules.check_target, CANCEL(filter=FILTER())),
        (rules.check_target, REPLAY(filter=FILTER())),
        (rules.check_matching, MATCHING(filter=FILTER())),
        (rules.check_update, UPDATE(tasks=ONE, clear_deadline=True)),
        (rules.check_update, UPDATE(tasks=ONE, priority=1, not_before=Timestamp(seconds=1))),
    ],
)
def test_a_good_request_passes(check: Callable[[Any], None], request_: Any) -> None:
    check(request_)
