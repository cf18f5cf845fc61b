"""What the client returns about queues, models and runners: plain, frozen values."""

from dataclasses import dataclass
from datetime import datetime

from forebay.client.tasks import Priority


@dataclass(frozen=True, slots=True)
class TenantLoad:
    """What one tenant has in a queue."""

    tenant: str
    queued: int
    running: int
    queued_work_s: float
    """Expected work of the waiting tasks, in seconds of one runner."""


@dataclass(frozen=True, slots=True)
class LaneInfo:
    """One lane of a queue."""

    index: int
    scheduler: str
    """Who reads it; empty while none of those that are there has read anything from it."""
    in_window: int
    """Tasks of it that the scheduler has in its window."""


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """One queue: a level of a pool."""

    pool: str
    priority: Priority
    depth: int
    """Tasks waiting."""
    oldest_age_s: float | None
    """Age of the oldest waiting task in seconds; None when nothing waits."""
    running: int
    finished_per_second: float
    share: float
    """Of the fleet, when every level of the pool is busy: 0 to 1."""
    paused: bool = False
    """Whether a pause holds back the whole queue."""
    waiting: int = 0
    """Tasks that wait for their time, their parents or their next attempt."""
    arrived_per_second: float = 0.0
    """Into the windows of schedulers, over the last ten seconds; so are the other rates."""
    started_per_second: float = 0.0
    share_got: float = 0.0
    """Of the pool's work of the last ten seconds: 0 to 1. To be compared with `share` while every level is busy."""
    queued_work_s: float = 0.0
    """Expected work of the waiting tasks, in seconds of one runner."""
    tenants: tuple[TenantLoad, ...] = ()
    """Those who wait or run most; the caller alone unless the caller operates the platform."""
    lanes: tuple[LaneInfo, ...] = ()
    """By index; the last one is the express lane."""


@dataclass(frozen=True, slots=True)
class PauseInfo:
    """A pause: it holds back tasks that meet every condition that is set."""

    pool: str
    priority: Priority | None
    model: str
    label: tuple[str, str] | None
    """Key and value."""
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a tensor model."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1 where any length is taken."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as the fleet serves it."""

    name: str
    engine: str
    """`tensor`, `generate`, or empty while it is not known."""
    digest: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    context_length: int
    """Longest prompt plus answer in tokens; 0 for tensor models."""
    ready_runners: int
    providers: tuple[str, ...]
    failures: tuple[str, ...]
    version: int = 0
    """0 for a model without versions."""


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """A runner process."""

    id: str
    model: str
    pool: str
    address: str
    state: str
    """`loading`, `warming`, `ready`, `draining` or `failed`."""
    reason: str
    """Why it failed."""
    provider: str
    engine: str
    capacity: int
    held: int
    start_time: datetime | None
    load_s: float | None
    """How long loading and warming took, in seconds; None before it is ready."""
    metrics_address: str
    pid: int
    version: int = 0
    """Of its model; 0 for one without versions."""
