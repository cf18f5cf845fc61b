"""Reads a record as the scripts pack it (scripts/prelude.lua has the layout)."""

from collections.abc import Sequence
from typing import Final

from scheduler.ports.records import HistoryEntry, Record
from scheduler.states import TaskState

STATES: Final = {str(int(state)): state for state in TaskState}

_PROMOTED: Final = "PROMOTED"
"""Reason of the step that leaves a task its place in line."""


def read_record(task_id: str, values: Sequence[bytes | None]) -> Record:
    """Build a Record of the fields v, t, w, x, e and, when it was asked for, o. The first is not None."""
    packed = (values[0] or b"").decode()
    head, *steps = packed.split(";")
    state, attempt, publication, returned = head.split(",", 4)[:4]
    history = tuple([HistoryEntry(int(step[1:14]), STATES[step[0]], step[14:]) for step in steps])
    queue_time = start_time = 0
    for entry in history:
        if entry.state is TaskState.QUEUED:
            if entry.reason != _PROMOTED:
                queue_time = entry.time_ms
        elif entry.state is TaskState.RUNNING:
            start_time = entry.time_ms
    present = STATES[state]
    return Record(
        id=task_id,
        tenant=(values[1] or b"").decode(),
        state=present,
        attempt=int(attempt),
        publication=int(publication),
        envelope=values[4] or b"",
        create_time_ms=history[0].time_ms,
        queue_time_ms=queue_time,
        start_time_ms=start_time,
        end_time_ms=history[-1].time_ms if present.terminal else 0,
        runner=(values[2] or b"").decode(),
        error=values[3] or b"",
        result=(values[5] or b"") if len(values) > 5 else b"",
        history=history,
        uncharged=int(returned),
    )


def is_promoted(packed: bytes) -> bool:
    """Whether a task waits on the express lane: it is QUEUED, and that was its last step."""
    return packed.startswith(b"3") and packed.endswith(_PROMOTED.encode())
