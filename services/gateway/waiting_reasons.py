"""What a task waits for, each reason in one sentence with numbers and names and, where there is one, what would help:
of every state but QUEUED, whose reasons `queue_reasons.py` finds. Pure.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.task_service_pb2 import WaitReason
from scheduler.policies.failures import Backoff
from scheduler.ports.records import Record
from scheduler.states import TaskState
from services.gateway import convert, spoken

_OVERDUE_MS: Final = 10_000


class Reason(NamedTuple):
    """One thing that a task waits for."""

    kind: WaitReason.Kind.ValueType
    fact: str
    """What it is; begins a sentence, without its full stop."""
    remedy: str = ""
    """What would help, or what happens then."""
    until_ms: int = 0
    """Until when, since the Unix epoch; 0 where that is not known."""

    @property
    def detail(self) -> str:
        """The whole sentence."""
        return f"{self.fact}; {self.remedy}." if self.remedy else f"{self.fact}."

    def fill(self, reason: WaitReason) -> None:
        """Write it into an answer."""
        reason.kind, reason.detail = self.kind, self.detail
        if self.until_ms:
            convert.stamp(reason.until, self.until_ms)


def scheduled(not_before_ms: int, now_ms: int) -> Reason:
    """Return what a SCHEDULED task waits for."""
    left_ms = not_before_ms - now_ms
    if left_ms > 0:
        fact = f"Its time comes in {spoken.duration(left_ms / 1000)}, at {spoken.moment(not_before_ms)}"
        return Reason(WaitReason.KIND_NOT_BEFORE, fact, until_ms=not_before_ms)
    fact = f"Its time came {spoken.duration(-left_ms / 1000)} ago, and it goes into its queue in a moment"
    late = -left_ms > _OVERDUE_MS
    remedy = "that is overdue: see whether a scheduler is there with forebay doctor" if late else ""
    return Reason(WaitReason.KIND_NOT_BEFORE, fact, remedy, not_before_ms)


def blocked(parents: Sequence[str], states: Sequence[TaskState | None]) -> Reason:
    """Return what a BLOCKED task waits for; `states` are those of its parents, None where there is no record."""
    open_ = [
        (parent, "no record of it" if state is None else state.name)
        for parent, state in zip(parents, states, strict=True)
        if state is None or not state.terminal
    ]
    of = spoken.tasks(len(parents))
    if not open_:
        return Reason(
            WaitReason.KIND_PARENTS, f"All of the {of} before it have ended: it goes on in a moment"
        )
    named = spoken.names([f"{parent} ({state})" for parent, state in open_])
    verb = "has" if len(open_) == 1 else "have"
    fact = f"{len(open_)} of the {of} that it depends on {verb} not ended: {named}"
    lost = any(state is None for state in states)
    return Reason(WaitReason.KIND_PARENTS, fact, "forebay recover finds lost records again" if lost else "")


def retrying(record: Record, spec: task_pb2.TaskSpec, max_attempts: int) -> Reason:
    """Return what a RETRYING task waits for, and until when at the latest."""
    # A change of the task enters the state anew, and leaves its rest as it is.
    failed_ms = [
        one.time_ms for one in record.history if one.state is TaskState.RETRYING and one.reason != "UPDATED"
    ]
    latest_ms = max(failed_ms, default=record.start_time_ms) + _backoff(spec.retry).bound_ms(record.attempt)
    charged = record.attempt - record.uncharged
    fact = f"Attempt {record.attempt} failed{_error(record.error)}"
    rest = f"it rests until {spoken.moment(latest_ms)} at the latest, before attempt {charged + 1} of {max_attempts}"
    return Reason(WaitReason.KIND_BACKOFF, fact, rest, latest_ms)


def running(record: Record, passed_s: float, expected_s: float | None) -> Reason:
    """Return what a RUNNING task waits for: its end. `expected_s` is how long such tasks are with a runner; None where
    nobody knows.
    """
    fact = f"Runner {record.runner} has had it for {spoken.duration(passed_s)}, in attempt {record.attempt}"
    usual = "" if expected_s is None else f"such tasks are there for about {spoken.duration(expected_s)}"
    return Reason(WaitReason.KIND_RUNNING, fact, usual)


def _backoff(asked: task_pb2.RetryPolicy) -> Backoff:
    """Return a task's rests, with the defaults for what it does not say."""
    usual = Backoff()
    return Backoff(
        asked.initial_backoff.ToMilliseconds() if asked.HasField("initial_backoff") else usual.initial_ms,
        asked.max_backoff.ToMilliseconds() if asked.HasField("max_backoff") else usual.longest_ms,
        asked.multiplier or usual.multiplier,
    )


def _error(body: bytes) -> str:
    """Say why an attempt failed, from the serialised Status; nothing where that is not kept."""
    if not body:
        return ""
    try:
        status = status_pb2.Status.FromString(body)
    except DecodeError:
        return ""
    info = error_details_pb2.ErrorInfo()
    reason = next((info.reason for detail in status.details if detail.Unpack(info)), "")
    said = f" with {reason}" if reason else ""
    return f"{said} ({status.message.rstrip('.')})" if status.message else said
