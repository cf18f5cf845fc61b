"""How a task spent its time: the parts of its life, from its history. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.tasks.v1.task_service_pb2 import ExplainTaskResponse
from scheduler.ports.records import HistoryEntry, Record
from scheduler.states import TaskState
from services.gateway import convert, spoken


class Spell(NamedTuple):
    """A part of a task's life."""

    state: TaskState
    reason: str
    start_ms: int
    duration_ms: int


def spells(record: Record, now_ms: int) -> list[Spell]:
    """Return the parts in order; the last one of a task that has not ended lasts until now. Their durations add up to
    its whole life so far. The end of a task is a moment, and so a part of no length that tells how it ended.
    """
    history: Sequence[HistoryEntry] = record.history
    found: list[Spell] = []
    for place, entry in enumerate(history):
        if place + 1 < len(history):
            end_ms = history[place + 1].time_ms
        else:
            end_ms = entry.time_ms if record.state.terminal else now_ms
        found.append(Spell(entry.state, entry.reason, entry.time_ms, max(0, end_ms - entry.time_ms)))
    return found


def fill(answer: ExplainTaskResponse, parts: Sequence[Spell]) -> None:
    """Write the parts into an answer."""
    for part in parts:
        phase = answer.phases.add(state=part.state, reason=part.reason)
        convert.stamp(phase.start, part.start_ms)
        phase.duration.FromMilliseconds(part.duration_ms)


_ENDED: Final = {
    TaskState.SUCCEEDED: "It succeeded",
    TaskState.FAILED: "It failed",
    TaskState.CANCELLED: "It was cancelled",
    TaskState.EXPIRED: "Its deadline passed",
}
_SPENT: Final = {
    TaskState.SCHEDULED: "waiting for its time",
    TaskState.BLOCKED: "waiting for other tasks",
    TaskState.QUEUED: "in its queue",
    TaskState.RUNNING: "with a runner",
    TaskState.RETRYING: "resting between attempts",
}
_WHY: Final = {
    "CANNOT_FINISH": "when its turn came it was too late to end before its deadline, so it was not started",
    "WHILE_SCHEDULED": "while it waited for its time",
    "WHILE_BLOCKED": "while it waited for other tasks",
    "WHILE_QUEUED": "while it was queued",
    "WHILE_RUNNING": "while it ran",
    "WHILE_RETRYING": "while it rested between attempts",
}


def told(record: Record, parts: Sequence[Spell]) -> str:
    """Tell in a sentence how a task that has ended spent its life."""
    spent_ms: dict[TaskState, int] = {}
    for part in parts:
        spent_ms[part.state] = spent_ms.get(part.state, 0) + part.duration_ms
    listed = [
        f"{spoken.duration(spent_ms[state] / 1000)} {where}"
        for state, where in _SPENT.items()
        if spent_ms.get(state)
    ]
    life_s = sum(spent_ms.values()) / 1000
    attempts = "1 attempt" if record.attempt == 1 else f"{record.attempt} attempts"
    reason = parts[-1].reason if parts else ""
    why = _WHY.get(reason, reason and f"reason {reason}")
    said = f"{_ENDED[record.state]} {spoken.duration(life_s)} after its creation"
    said += f", in {attempts}" if record.attempt else ", before it was started"
    said += f": {', '.join(listed)}" if listed else ""
    return f"{said}; {why}." if why else f"{said}."
