"""Bad input for every field of requests other than tasks, through the real gateway: a table for each kind of them."""

from typing import Any, Final

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from forebay.models.v1 import model_service_pb2, model_service_pb2_grpc
from forebay.queues.v1 import queue_service_pb2, queue_service_pb2_grpc
from forebay.tasks.v1 import task_service_pb2, task_service_pb2_grpc
from forebay.tasks.v1.task_pb2 import TaskSpec
from forebay.tasks.v1.task_service_pb2 import LabelSelector, TaskFilter, TaskIds
from scheduler.ids import new_ids
from tests.e2e.bad_input import details, good, refused_status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ABSENT: Final = new_ids(7, 1, 0)[0]
"""An id that could be a task's, and is none's."""
MANY: Final = {f"label-{n}": "" for n in range(33)}
FILTERS: Final[list[tuple[str, str, TaskFilter]]] = [
    ("a state that does not exist", "filter.states[1]", TaskFilter(states=[1, 99])),  # type: ignore[list-item]
    ("a model of forbidden characters", "filter.model", TaskFilter(model="a b")),
    ("33 labels", "filter.labels", TaskFilter(labels=MANY)),
    ("a label without a key", "filter.labels", TaskFilter(labels={"": "v"})),
    ("a priority that does not exist", "filter.priorities[0]", TaskFilter(priorities=[7])),  # type: ignore[list-item]
    ("a pool of forbidden characters", "filter.pool", TaskFilter(pool="No Pool")),
]
LISTS: Final[list[tuple[str, str, Message]]] = [
    *((what, path, task_service_pb2.ListTasksRequest(filter=bad)) for what, path, bad in FILTERS),
    ("a negative page", "page_size", task_service_pb2.ListTasksRequest(page_size=-1)),
    ("a page of 1001", "page_size", task_service_pb2.ListTasksRequest(page_size=1001)),
    ("a token that is none", "page_token", task_service_pb2.ListTasksRequest(page_token="AAAA")),
    ("a token that is no base64", "page_token", task_service_pb2.ListTasksRequest(page_token="%%%ä")),
    ("a token of a megabyte", "page_token", task_service_pb2.ListTasksRequest(page_token="A" * (1 << 20))),
]
CANCELS: Final[list[tuple[str, str, Message]]] = [
    *((what, path, task_service_pb2.CancelTasksRequest(filter=bad)) for what, path, bad in FILTERS),
    ("no target", "target", task_service_pb2.CancelTasksRequest()),
    ("no id", "tasks.ids", task_service_pb2.CancelTasksRequest(tasks=TaskIds())),
    ("10001 ids", "tasks.ids", task_service_pb2.CancelTasksRequest(tasks=TaskIds(ids=[ABSENT] * 10_001))),
    ("a bad id", "tasks.ids[1]", task_service_pb2.CancelTasksRequest(tasks=TaskIds(ids=[ABSENT, "no"]))),
]
WATCHES: Final[list[tuple[str, str, Message]]] = [
    ("no target", "target", task_service_pb2.WatchTasksRequest()),
    ("no id", "tasks.ids", task_service_pb2.WatchTasksRequest(tasks=TaskIds())),
    ("10001 ids", "tasks.ids", task_service_pb2.WatchTasksRequest(tasks=TaskIds(ids=[ABSENT] * 10_001))),
    ("a bad id", "tasks.ids[0]", task_service_pb2.WatchTasksRequest(tasks=TaskIds(ids=["64-" + "0" * 26]))),
    ("no label", "selector.labels", task_service_pb2.WatchTasksRequest(selector=LabelSelector())),
    ("33 labels", "selector.labels", task_service_pb2.WatchTasksRequest(selector=LabelSelector(labels=MANY))),
    (
        "a label's value of 256 characters",
        'selector.labels["k"]',
        task_service_pb2.WatchTasksRequest(selector=LabelSelector(labels={"k": "v" * 256})),
    ),
]
OTHERS: Final[list[tuple[str, str, Message]]] = [
    ("no tasks", "tasks", task_service_pb2.SubmitTasksRequest()),
    ("1001 tasks", "tasks", task_service_pb2.SubmitTasksRequest(tasks=[TaskSpec()] * 1001)),
    ("no id", "id", task_service_pb2.GetTaskRequest()),
    ("a path as an id", "id", task_service_pb2.GetTaskRequest(id="../../etc/passwd")),
    ("an id in upper case", "id", task_service_pb2.GetTaskRequest(id=ABSENT.upper())),
    ("no id", "id", task_service_pb2.StreamOutputRequest()),
    ("a key of the store as an id", "id", task_service_pb2.StreamOutputRequest(id="fb:{07}:t:*")),
    (
        "a negative sequence",
        "after_sequence",
        task_service_pb2.StreamOutputRequest(id=ABSENT, after_sequence=-1),
    ),
    ("a bad pool", "pool", queue_service_pb2.ListQueuesRequest(pool="a/b")),
    ("a pool of 64 characters", "pool", queue_service_pb2.ListQueuesRequest(pool="p" * 64)),
    ("a bad model", "model", model_service_pb2.ListRunnersRequest(model="a b")),
    ("a model of 129 characters", "model", model_service_pb2.ListRunnersRequest(model="m" * 129)),
]
REQUESTS: Final = [*LISTS, *CANCELS, *WATCHES, *OTHERS]


def stub_method(channel: grpc.Channel, request: Message) -> Any:
    """Return the method whose request this is."""
    stubs = (
        task_service_pb2_grpc.TaskServiceStub(channel),
        queue_service_pb2_grpc.QueueServiceStub(channel),
        model_service_pb2_grpc.ModelServiceStub(channel),
    )
    name = type(request).__name__.removesuffix("Request")
    return next(getattr(stub, name) for stub in stubs if hasattr(stub, name))


def refusal(channel: grpc.Channel, request: Message) -> status_pb2.Status:
    """Make a call that must fail and return its status."""
    method = stub_method(channel, request)
    return refused_status(lambda: method(request, timeout=10))


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        pytest.param(path, bad, id=f"{type(bad).__name__.removesuffix('Request')} {path}: {what}")
        for what, path, bad in REQUESTS
    ],
)
def test_a_bad_request_is_refused_by_field(channel: grpc.Channel, path: str, request_: Message) -> None:
    status = refusal(channel, request_)
    assert status.code == code_pb2.INVALID_ARGUMENT
    info, fields = details(status)
    assert (info.reason, fields) == ("INVALID_INPUT", [path])


def test_a_page_token_of_another_filter_is_refused(channel: grpc.Channel) -> None:
    tasks = task_service_pb2_grpc.TaskServiceStub(channel)
    tasks.SubmitTasks(task_service_pb2.SubmitTasksRequest(tasks=[good(), good()]), timeout=10)
    token = tasks.ListTasks(task_service_pb2.ListTasksRequest(page_size=1), timeout=10).next_page_token
    other = task_service_pb2.ListTasksRequest(page_token=token, filter=TaskFilter(model="add"))
    assert details(refusal(channel, other))[1] == ["page_token"]


@pytest.mark.parametrize(
    "request_",
    [
        task_service_pb2.GetTaskRequest(id=ABSENT),
        task_service_pb2.StreamOutputRequest(id=ABSENT),
        task_service_pb2.WatchTasksRequest(tasks=TaskIds(ids=[ABSENT])),
    ],
    ids=lambda request_: type(request_).__name__,
)
def test_a_task_that_does_not_exist_is_not_found(channel: grpc.Channel, request_: Message) -> None:
    status = refusal(channel, request_)
    assert status.code == code_pb2.NOT_FOUND
    assert details(status)[0].reason == "TASK_NOT_FOUND"


@pytest.mark.parametrize("body", [b"\xff" * 64, b"\x0a\x05\x0a\x03\xff\xfe\xfd", b"\x0a\x7f"], ids=bytes.hex)
@pytest.mark.parametrize("method", ["SubmitTasks", "GetTask", "ListTasks", "WatchTasks", "CancelTasks"])
def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel, method: str, body: bytes) -> None:
    call: Any = channel.unary_stream(f"/forebay.tasks.v1.TaskService/{method}")
    status = refused_status(lambda: call(body, timeout=10))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert details(status)[0].reason == "INVALID_INPUT"
