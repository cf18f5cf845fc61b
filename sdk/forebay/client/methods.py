"""The calls that the client makes: path, request and response of each."""

from dataclasses import dataclass
from typing import Final, Generic, Protocol, Self, TypeVar

from forebay.cache.v1 import cache_service_pb2 as cache
from forebay.inference.v1 import inference_service_pb2 as inference
from forebay.models.v1 import model_service_pb2 as models
from forebay.queues.v1 import queue_service_pb2 as queues
from forebay.tasks.v1 import schedule_service_pb2 as schedules
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
CANCEL_MATCHING: Final = Method(
    f"{_TASKS}/CancelMatchingTasks", tasks.CancelMatchingTasksRequest, tasks.CancelMatchingTasksResponse
)
UPDATE: Final = Method(f"{_TASKS}/UpdateTasks", tasks.UpdateTasksRequest, tasks.UpdateTasksResponse)
EXPLAIN: Final = Method(f"{_TASKS}/ExplainTask", tasks.ExplainTaskRequest, tasks.ExplainTaskResponse)
LIST_DEAD: Final = Method(
    f"{_TASKS}/ListDeadLetters", tasks.ListDeadLettersRequest, tasks.ListDeadLettersResponse
)
GET_DEAD: Final = Method(f"{_TASKS}/GetDeadLetter", tasks.GetDeadLetterRequest, tasks.GetDeadLetterResponse)
REPLAY: Final = Method(f"{_TASKS}/ReplayTasks", tasks.ReplayTasksRequest, tasks.ReplayTasksResponse)
PURGE: Final = Method(
    f"{_TASKS}/PurgeDeadLetters", tasks.PurgeDeadLettersRequest, tasks.PurgeDeadLettersResponse
)

_SCHEDULES: Final = "forebay.tasks.v1.ScheduleService"

CREATE_SCHEDULE: Final = Method(
    f"{_SCHEDULES}/CreateSchedule", schedules.CreateScheduleRequest, schedules.CreateScheduleResponse
)
GET_SCHEDULE: Final = Method(
    f"{_SCHEDULES}/GetSchedule", schedules.GetScheduleRequest, schedules.GetScheduleResponse
)
LIST_SCHEDULES: Final = Method(
    f"{_SCHEDULES}/ListSchedules", schedules.ListSchedulesRequest, schedules.ListSchedulesResponse
)
DELETE_SCHEDULE: Final = Method(
    f"{_SCHEDULES}/DeleteSchedule", schedules.DeleteScheduleRequest, schedules.DeleteScheduleResponse
)
PAUSE_SCHEDULE: Final = Method(
    f"{_SCHEDULES}/PauseSchedule", schedules.PauseScheduleRequest, schedules.PauseScheduleResponse
)
RESUME_SCHEDULE: Final = Method(
    f"{_SCHEDULES}/ResumeSchedule", schedules.ResumeScheduleRequest, schedules.ResumeScheduleResponse
)
RUN_SCHEDULE: Final = Method(
    f"{_SCHEDULES}/RunSchedule", schedules.RunScheduleRequest, schedules.RunScheduleResponse
)

_QUEUES: Final = "forebay.queues.v1.QueueService"

QUEUES: Final = Method(f"{_QUEUES}/ListQueues", queues.ListQueuesRequest, queues.ListQueuesResponse)
PAUSE: Final = Method(f"{_QUEUES}/PauseQueue", queues.PauseQueueRequest, queues.PauseQueueResponse)
RESUME: Final = Method(f"{_QUEUES}/ResumeQueue", queues.ResumeQueueRequest, queues.ResumeQueueResponse)
GET_POLICY: Final = Method(f"{_QUEUES}/GetPolicy", queues.GetPolicyRequest, queues.GetPolicyResponse)
UPDATE_POLICY: Final = Method(
    f"{_QUEUES}/UpdatePolicy", queues.UpdatePolicyRequest, queues.UpdatePolicyResponse
)

MODELS: Final = Method(
    "forebay.models.v1.ModelService/ListModels", models.ListModelsRequest, models.ListModelsResponse
)
RUNNERS: Final = Method(
    "forebay.models.v1.ModelService/ListRunners", models.ListRunnersRequest, models.ListRunnersResponse
)

LIST_REPOSITORY: Final = Method(
    "forebay.models.v1.ModelService/ListRepository",
    models.ListRepositoryRequest,
    models.ListRepositoryResponse,
)
LOAD_MODEL: Final = Method(
    "forebay.models.v1.ModelService/LoadModel", models.LoadModelRequest, models.LoadModelResponse
)
UNLOAD_MODEL: Final = Method(
    "forebay.models.v1.ModelService/UnloadModel", models.UnloadModelRequest, models.UnloadModelResponse
)

_INFERENCE: Final = "forebay.inference.v1.InferenceService"

INFER: Final = Method(f"{_INFERENCE}/Infer", inference.InferRequest, inference.InferResponse)
EMBED: Final = Method(f"{_INFERENCE}/Embed", inference.EmbedRequest, inference.EmbedResponse)
GENERATE: Final = Method(f"{_INFERENCE}/Generate", inference.GenerateRequest, inference.GenerateResponse)

_CACHE: Final = "forebay.cache.v1.CacheService"

CACHE_STATS: Final = Method(
    f"{_CACHE}/GetCacheStats", cache.GetCacheStatsRequest, cache.GetCacheStatsResponse
)
PURGE_CACHE: Final = Method(f"{_CACHE}/PurgeCache", cache.PurgeCacheRequest, cache.PurgeCacheResponse)
GET_CACHED: Final = Method(
    f"{_CACHE}/GetCachedAnswer", cache.GetCachedAnswerRequest, cache.GetCachedAnswerResponse
)
WARM_CACHE: Final = Method(f"{_CACHE}/WarmCache", cache.WarmCacheRequest, cache.WarmCacheResponse)
ADVISE_CACHE: Final = Method(f"{_CACHE}/AdviseCache", cache.AdviseCacheRequest, cache.AdviseCacheResponse)
