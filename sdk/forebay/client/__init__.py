"""The Python client of Forebay: `Client`, and `AsyncClient` for asyncio.

from forebay.client import Client

with Client("127.0.0.1:7070") as client:
    task = client.submit("smollm2", prompt="The capital of France is", priority="high")
    print(client.wait(task).text)
"""

from forebay.client.answers import Choice, EmbedResult, GenerateResult, TokenLogprob, TopLogprob
from forebay.client.async_client import AsyncClient
from forebay.client.cache_info import (
    CacheAdvice,
    CachedAnswer,
    CacheForetold,
    CacheHeld,
    CacheModelUse,
    CacheNamespace,
    CachePurged,
    CacheStats,
    CacheSuggestion,
    CacheTier,
    CacheTierSettings,
    KeptAnswer,
    Warmed,
)
from forebay.client.dead_letters import DeadLetter, ReplaySummary
from forebay.client.direct import EmbedAnswer, Execution, GenerateChunk, InferAnswer
from forebay.client.errors import (
    AlreadyExists,
    CallCancelled,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    FieldFault,
    ForebayClientError,
    InternalError,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    QuotaViolation,
    ResourceExhausted,
    SubmitManyError,
    TaskFailedError,
    Unauthenticated,
    Unavailable,
)
from forebay.client.explaining import Ahead, Estimate, Explanation, Phase, WaitReason
from forebay.client.fleet import (
    LaneInfo,
    ModelInfo,
    PauseInfo,
    QueueInfo,
    RunnerInfo,
    TenantLoad,
    TensorInfo,
)
from forebay.client.policies import PolicyChanges, PolicyInfo, PolicyLimit
from forebay.client.repository import RepositoryInfo
from forebay.client.retry import RetryPolicy
from forebay.client.schedules import ScheduleInfo
from forebay.client.specs import TaskOptions, task_spec
from forebay.client.sync_client import Client
from forebay.client.tasks import (
    CancelProgress,
    CancelSummary,
    Chunk,
    Priority,
    TaskEvent,
    TaskHandle,
    TaskInfo,
    TaskRef,
    TaskState,
    Timing,
    Usage,
)
from forebay.client.tensors import to_array, to_tensor

__all__ = [
    "Ahead",
    "AlreadyExists",
    "AsyncClient",
    "CacheAdvice",
    "CacheForetold",
    "CacheHeld",
    "CacheModelUse",
    "CacheNamespace",
    "CachePurged",
    "CacheStats",
    "CacheSuggestion",
    "CacheTier",
    "CacheTierSettings",
    "CachedAnswer",
    "CallCancelled",
    "CancelProgress",
    "CancelSummary",
    "Choice",
    "Chunk",
    "Client",
    "Conflict",
    "DeadLetter",
    "DeadlineExceeded",
    "EmbedAnswer",
    "EmbedResult",
    "Estimate",
    "Execution",
    "Explanation",
    "FailedPrecondition",
    "FieldFault",
    "ForebayClientError",
    "GenerateChunk",
    "GenerateResult",
    "InferAnswer",
    "InternalError",
    "InvalidArgument",
    "KeptAnswer",
    "LaneInfo",
    "ModelInfo",
    "NotFound",
    "OutOfRange",
    "PauseInfo",
    "PermissionDenied",
    "Phase",
    "PolicyChanges",
    "PolicyInfo",
    "PolicyLimit",
    "Priority",
    "QueueInfo",
    "QuotaViolation",
    "ReplaySummary",
    "RepositoryInfo",
    "ResourceExhausted",
    "RetryPolicy",
    "RunnerInfo",
    "ScheduleInfo",
    "SubmitManyError",
    "TaskEvent",
    "TaskFailedError",
    "TaskHandle",
    "TaskInfo",
    "TaskOptions",
    "TaskRef",
    "TaskState",
    "TenantLoad",
    "TensorInfo",
    "Timing",
    "TokenLogprob",
    "TopLogprob",
    "Unauthenticated",
    "Unavailable",
    "Usage",
    "WaitReason",
    "Warmed",
    "task_spec",
    "to_array",
    "to_tensor",
]
