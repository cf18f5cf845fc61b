"""When a message goes to a runner: at once, or in a moment, because more calls are likely to come for it.

A message costs the gateway and the runner more than ten times what a call in it costs, so where processors are busy it
is the number of messages that decides how many calls get through. Calls that will come soon cannot be counted: where
the event loop is busy they queue in front of it, inside gRPC. But then a wait costs nothing either, for the loop spends
it on them. So a message waits, the longer the busier the loop was lately, and only where several calls were under way:
a client that is alone asks again when it is answered, and not before.

It goes at once when its own cost is small beside that of its calls. With larger messages the loop becomes less busy and
the waits shorter: no more is waited than pays.
"""

from typing import Final

LONGEST_S: Final = 0.002
"""Longest wait of a message, where the loop is `_FULLY` busy or more."""
FEW: Final = 4
"""With no more calls under way nothing waits."""
ENOUGH: Final = 64
"""A message with so many calls waits for no more."""
_IDLE: Final = 0.25
"""Part of its time for which the loop may work without that anything waits."""
_FULLY: Final = 0.5
_FADING: Final = 0.8
"""What is left of the number of calls that were under way, with each message."""
_LATELY_S: Final = 0.05
"""How long the loop's work counts, about."""


class Gathering:
    """What is known of the calls to one runner, and of the loop, lately. Times are in seconds."""

    __slots__ = ("_busy", "_now_s", "_usual", "_worked_s")

    def __init__(self, now_s: float, worked_s: float) -> None:
        """Begin at a time that never goes back; until then the loop has worked for `worked_s`."""
        self._usual = 0.0
        """Calls that were under way when a message went."""
        self._busy = 0.0
        """Part of the time for which the loop worked."""
        self._now_s = now_s
        self._worked_s = worked_s

    def pause_s(self, waiting: int) -> float:
        """Return for how long a message with so many calls waits for more; 0 for not at all."""
        if self._usual <= FEW or waiting >= ENOUGH or self._busy <= _IDLE:
            return 0.0
        return LONGEST_S * min(1.0, (self._busy - _IDLE) / (_FULLY - _IDLE))

    def sent(self, under_way: int, now_s: float, worked_s: float) -> None:
        """Take in that a message goes, how many calls are under way then, those in it included, and for how long the
        loop has worked in all.
        """
        self._usual = max(under_way, self._usual * _FADING)
        passed_s = now_s - self._now_s
        if passed_s > 0:
            busy = (worked_s - self._worked_s) / passed_s
            self._busy += min(1.0, passed_s / _LATELY_S) * (busy - self._busy)
            self._now_s, self._worked_s = now_s, worked_s
