"""Why a task waits, or how it spent its life: what the server says, as plain, frozen values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from forebay.client import reading
from forebay.client.specs import PRIORITIES
from forebay.client.tasks import Priority, TaskInfo, TaskState
from forebay.tasks.v1 import task_service_pb2 as wire

_LEVELS: Final = {number: priority for priority, number in PRIORITIES.items()}


@dataclass(frozen=True, slots=True)
class WaitReason:
    """One thing that a task waits for."""

    kind: str
    """`no_runner`, `no_credit`, `circuit_open`, `paused`, `not_before`, `parents`, `backoff`, `behind`,
    `no_scheduler`, `unpublished` or `running`.
    """
    detail: str
    """What it is and what would help, in a sentence."""
    until: datetime | None
    """Until when, where that is known."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Tasks of one level and tenant that start before a task."""

    priority: Priority
    tenant: str
    """Empty for all tenants that the caller may not know of, summed up."""
    tasks: int
    work_s: float
    """Their expected work, in seconds of one runner."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A time that is expected."""

    time: datetime
    """The middle: as likely sooner as later."""
    earliest: datetime
    """Sooner than this in one of ten cases."""
    latest: datetime
    """Later than this in one of ten cases."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a task's life."""

    state: TaskState
    reason: str
    """Why it came into the state; empty for the ordinary way."""
    start: datetime
    duration_s: float
    """Until now for the last part of a task that has not ended."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a task is and why it is still there."""

    task: TaskInfo
    """With its history, without input and result."""
    summary: str
    """The answer in one or two sentences."""
    reasons: tuple[WaitReason, ...]
    """What it waits for, the decisive one first; empty for a task that has ended."""
    ahead: tuple[Ahead, ...]
    """What starts before it, highest level first."""
    start: Estimate | None
    """When it is expected to start; None for one that has started, and where nothing can be expected."""
    end: Estimate | None
    """When it is expected to end."""
    phases: tuple[Phase, ...]
    """How its time was spent so far, in order."""


def explanation(answer: wire.ExplainTaskResponse) -> Explanation:
    """Read an answer."""
    return Explanation(
        task=reading.info(answer.task),
        summary=answer.summary,
        reasons=tuple(map(_reason, answer.reasons)),
        ahead=tuple(
            Ahead(
                _LEVELS.get(one.priority, Priority.NORMAL), one.tenant, one.tasks, reading.seconds(one.work)
            )
            for one in answer.ahead
        ),
        start=_estimate(answer.start) if answer.HasField("start") else None,
        end=_estimate(answer.end) if answer.HasField("end") else None,
        phases=tuple(
            Phase(
                reading.STATES[one.state],
                one.reason,
                reading.time(one.start),
                reading.seconds(one.duration),
            )
            for one in answer.phases
        ),
    )


def _reason(reason: wire.WaitReason) -> WaitReason:
    # A newer server may know kinds that this client does not.
    known = reason.kind in wire.WaitReason.Kind.values()
    kind = wire.WaitReason.Kind.Name(reason.kind).removeprefix("KIND_").lower() if known else "unknown"
    return WaitReason(kind, reason.detail, reading.time(reason.until) if reason.HasField("until") else None)


def _estimate(estimate: wire.Estimate) -> Estimate:
    return Estimate(
        reading.time(estimate.time), reading.time(estimate.earliest), reading.time(estimate.latest)
    )
