"""Calls that wait to be sent over one connection, and the messages that they go in: higher levels first, and of each
level those that came first.
"""

from itertools import islice
from math import inf
from typing import Final

from forebay.runner.v1.runner_service_pb2 import Call, ExecuteRequest
from scheduler.errors import InvalidInput
from scheduler.states import Level
from services.gateway.direct.pending import Pending

MESSAGE_CALLS: Final = 512
MESSAGE_BYTES: Final = 4 << 20
"""A message is closed when it has so much; a call that is larger travels alone."""
LARGEST_CALL: Final = (64 << 20) - (64 << 10)
"""What a runner takes in one message, less what surrounds a call."""

_LEVELS: Final = len(Level)
_MEASURED: Final = 8 << 20
"""Calls that are said to be larger are measured before they are sent."""


class Outgoing:
    """The calls of one connection. It marks those that it hands over as sent."""

    __slots__ = ("_lines", "count", "due_s")

    def __init__(self) -> None:
        self._lines: tuple[dict[int, Pending], ...] = tuple({} for _ in range(_LEVELS))
        self.count = 0
        """Calls that wait."""
        self.due_s = inf
        """When the first of their clients gives up, or before: it may be gone already."""

    @property
    def critical(self) -> bool:
        """Whether a CRITICAL one is among them."""
        return bool(self._lines[Level.CRITICAL - 1])

    def add(self, pending: Pending) -> None:
        """Let a call wait behind those of its level."""
        self._lines[pending.wanted.priority - 1][pending.id] = pending
        self.count += 1
        self.due_s = min(self.due_s, pending.deadline_s)

    def remove(self, pending: Pending) -> None:
        """Forget a call. Does nothing when it does not wait here."""
        if self._lines[pending.wanted.priority - 1].pop(pending.id, None) is not None:
            self._less(1)

    def raise_level(self, pending: Pending, level: int) -> None:
        """Let a call that waits here go on waiting behind those of a higher level."""
        wanted = pending.wanted
        del self._lines[wanted.priority - 1][pending.id]
        wanted.priority = level
        self._lines[level - 1][pending.id] = pending

    def write(self, request: ExecuteRequest, now_s: float) -> list[tuple[Pending, Exception]]:
        """Move calls into a message, as many as one takes. Returns those that could not be written, and why: they are
        not in it, and do not wait here any more.
        """
        count = size = 0
        unfit: list[tuple[Pending, Exception]] = []
        for line in self._lines:
            taken = 0
            for pending in line.values():
                size += pending.wanted.size_bytes
                if count and (count == MESSAGE_CALLS or size > MESSAGE_BYTES):
                    break
                taken += 1
                count += 1
                pending.sent = True
                try:
                    _write_call(request.calls.add(), pending, now_s)
                except Exception as fault:  # it must not take the other calls with it
                    del request.calls[-1]
                    unfit.append((pending, fault))
            if taken == len(line):
                line.clear()
            else:
                for number in list(islice(line, taken)):
                    del line[number]
                break
        self._less(count)
        return unfit

    def _less(self, count: int) -> None:
        self.count -= count
        if not self.count:
            self.due_s = inf


def _write_call(call: Call, pending: Pending, now_s: float) -> None:
    wanted = pending.wanted
    call.id = pending.id
    call.tenant = wanted.tenant
    call.priority = wanted.priority  # type: ignore[assignment]  # levels have the numbers of priorities
    call.timeout_ms = max(1, int((pending.deadline_s - now_s) * 1000))
    if wanted.traceparent:
        call.traceparent = wanted.traceparent
    if pending.streams:
        call.stream = True
    if wanted.sequence_key:
        call.sequence.id = wanted.sequence_key
        call.sequence.start = wanted.sequence_start
        call.sequence.end = wanted.sequence_end
    wanted.fill(call)
    if wanted.size_bytes > _MEASURED and call.ByteSize() > LARGEST_CALL:
        raise InvalidInput.of("", f"is too large for one message: more than {LARGEST_CALL >> 20} MiB")
