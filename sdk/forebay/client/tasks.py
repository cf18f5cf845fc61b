"""What the client returns: plain, frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from forebay.client.answers import Choice, EmbedResult, GenerateResult, TokenLogprob
from forebay.client.errors import ForebayClientError, TaskFailedError
from forebay.client.tensors import Array
from forebay.tasks.v1.task_pb2 import TaskSpec


class Priority(StrEnum):
    """How urgent a task is. Everywhere a priority is taken, its plain string will do."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class TaskState(StrEnum):
    """Where a task is in its life."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self in _TERMINAL


_TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED})


@dataclass(frozen=True, slots=True)
class TaskHandle:
    """An accepted task."""

    id: str
    state: TaskState
    """QUEUED, or later when the idempotency key was known already."""
    create_time: datetime | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a task used."""

    input_tokens: int
    output_tokens: int
    """Over all answers to the prompt."""
    cached_tokens: int = 0
    """Those of input_tokens that were not computed because a cache held them."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the parts of a task took, in seconds."""

    queue_s: float
    execute_s: float
    time_to_first_token_s: float | None
    """None for tensor models."""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One step in the history of a task."""

    time: datetime | None
    state: TaskState
    reason: str


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as the server has it. What an answer does not carry is empty, 0 or None."""

    id: str
    state: TaskState
    model: str = ""
    priority: Priority = Priority.NORMAL
    pool: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0
    publication: int = 0
    tenant: str = ""
    create_time: datetime | None = None
    queue_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    runner: str = ""
    error: ForebayClientError | None = None
    """Why it ended without a result."""
    result: GenerateResult | EmbedResult | Mapping[str, Array] | None = None
    """The answer of a language model, the vectors of an embedding model, or the named arrays of a tensor model."""
    usage: Usage | None = None
    timing: Timing | None = None
    events: tuple[TaskEvent, ...] = ()
    spec: TaskSpec | None = None
    """What was asked, as it is on the wire."""
    last_error: ForebayClientError | None = None
    """Why its latest attempt failed, while another one is to come."""
    uncharged_attempts: int = 0
    """Attempts that do not count against the maximum."""
    replay_of: str = ""
    """The dead letter that it repeats."""
    schedule: str = ""
    """The schedule that made it."""
    cached: bool = False
    """Whether nothing was executed for it: its result was in the result cache, or another task's or call's."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.state.terminal

    @property
    def not_before(self) -> datetime | None:
        """Its earliest start. None when it may start at once, or when this answer carries no spec."""
        return _moment(self.spec, "not_before")

    @property
    def deadline(self) -> datetime | None:
        """When it expires. None for never, or when this answer carries no spec."""
        return _moment(self.spec, "deadline")

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the tasks that it starts after, ended or not."""
        return tuple(one.id for one in self.spec.depends_on if one.id) if self.spec is not None else ()

    @property
    def text(self) -> str:
        """The generated text, with n over 1 the first. Raises TaskFailedError when the task has none to give, TypeError
        for tensors.
        """
        return self._generated().text

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All generated answers. Raises as `text` does."""
        return self._generated().choices

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The output arrays by name. Raises TaskFailedError when there are none, TypeError for anything else."""
        result = self._result()
        if isinstance(result, GenerateResult | EmbedResult):
            raise TypeError(f"task {self.id} returned {_kind(result)}, not tensors")
        return result

    @property
    def embeddings(self) -> EmbedResult:
        """The vectors of the texts. Raises TaskFailedError when there are none, TypeError for anything else."""
        result = self._result()
        if not isinstance(result, EmbedResult):
            raise TypeError(f"task {self.id} returned {_kind(result)}, not vectors")
        return result

    def raise_for_state(self) -> None:
        """Raise TaskFailedError when the task ended without a result."""
        if self.done and self.state is not TaskState.SUCCEEDED:
            raise TaskFailedError(self.id, self.state, self.error)

    def _generated(self) -> GenerateResult:
        result = self._result()
        if not isinstance(result, GenerateResult):
            raise TypeError(f"task {self.id} returned {_kind(result)}, not text")
        return result

    def _result(self) -> GenerateResult | EmbedResult | Mapping[str, Array]:
        self.raise_for_state()
        if self.result is None:
            raise ValueError(f"task {self.id} is {self.state.value}; this answer carries no result of it")
        return self.result


def _kind(result: GenerateResult | EmbedResult | Mapping[str, Array]) -> str:
    if isinstance(result, GenerateResult):
        return "text"
    return "vectors" if isinstance(result, EmbedResult) else "tensors"


def _moment(spec: TaskSpec | None, name: Literal["not_before", "deadline"]) -> datetime | None:
    if spec is None or not spec.HasField(name):
        return None
    stamp: Timestamp = getattr(spec, name)
    return stamp.ToDatetime(tzinfo=UTC)


TaskRef = str | TaskHandle | TaskInfo
"""Whatever names a task."""


def task_id(task: TaskRef) -> str:
    """Return the id of what names a task."""
    return task if isinstance(task, str) else task.id


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a generation's output: of its answer, or with n over 1 of the first, and what is new of others."""

    sequence: int
    """1, 2, 3, … over the whole life of the task; `after` of `stream` takes it."""
    text: str
    """New text; whole characters only."""
    token_ids: tuple[int, ...] = ()
    finish_reason: str = ""
    """`stop`, `length` or `aborted`; in the last chunk only."""
    restarted: bool = False
    """A new attempt begins with this chunk: the text of all chunks before it is void, whatever answer it is of."""
    state: TaskState | None = None
    """The task's terminal state; in the last chunk only."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of token_ids when they were asked for."""
    others: tuple[Choice, ...] = ()
    """What is new of answers 1 to n - 1."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What is new of each answer; that of the first, which leads, may be nothing."""
        return (Choice(0, self.text, self.token_ids, self.finish_reason, self.logprobs), *self.others)


@dataclass(frozen=True, slots=True)
class CancelProgress:
    """How far the cancelling of matching tasks is."""

    seen: int
    cancelled: int
    done: bool
    """Whether every task was looked at: the last one says so."""


@dataclass(frozen=True, slots=True)
class CancelSummary:
    """What became of a request to cancel."""

    cancelled: int
    already_terminal: int
    not_found: int
    outcomes: Mapping[str, str]
    """`cancelled`, `already_terminal` or `not_found` by task id."""
