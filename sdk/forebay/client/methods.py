"""The calls that the client makes: path, request and response of each."""

from dataclasses import dataclass
from typing import Final, Generic, Protocol, Self, TypeVar

from forebay.models.v1 import model_service_pb2 as models
from forebay.queues.v1 import queue_service_pb2 as queues
from forebay.tasks.v1 import task_service_pb2 as tasks


class Message(Protocol):
    """What transports need of a Protobuf message."""

    def SerializeToString(self) -> bytes:
        """Return its bytes."""
        ...

    @classmethod
    def FromString(cls, s: bytes) -> Self:
        """Read it from bytes."""
        ...


Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, R]):
    """One method of a service."""

    name: str
    """Full name without the first slash; also the name of its spans."""
    request: type[Q]
    response: type[R]

    @property
    def path(self) -> str:
        """Its path on the wire."""
        return f"/{self.name}"


_TASKS: Final = "forebay.tasks.v1.TaskService"

SUBMIT: Final = Method(f"{_TASKS}/SubmitTasks", tasks.SubmitTasksRequest, tasks.SubmitTasksResponse)
GET: Final = Method(f"{_TASKS}/GetTask", tasks.GetTaskRequest, tasks.GetTaskResponse)
LIST: Final = Method(f"{_TASKS}/ListTasks", tasks.ListTasksRequest, tasks.ListTasksResponse)
WATCH: Final = Method(f"{_TASKS}/WatchTasks", tasks.WatchTasksRequest, tasks.WatchTasksResponse)
OUTPUT: Final = Method(f"{_TASKS}/StreamOutput", tasks.StreamOutputRequest, tasks.StreamOutputResponse)
CANCEL: Final = Method(f"{_TASKS}/CancelTasks", tasks.CancelTasksRequest, tasks.CancelTasksResponse)
QUEUES: Final = Method(
    "forebay.queues.v1.QueueService/ListQueues", queues.ListQueuesRequest, queues.ListQueuesResponse
)
MODELS: Final = Method(
    "forebay.models.v1.ModelService/ListModels", models.ListModelsRequest, models.ListModelsResponse
)
RUNNERS: Final = Method(
    "forebay.models.v1.ModelService/ListRunners", models.ListRunnersRequest, models.ListRunnersResponse
)
