"""When a schedule is due, and what is done about due times that passed while nobody looked.

Cron expressions are those of Debian's cron, by the library cronsim, five fields in a time zone: where clocks are put
forward, a job of a skipped hour runs right after it; where they are put back, one at a fixed time runs once.
Intervals count from the creation of the schedule, so that all schedulers agree on their due times.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import islice
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MISSED_AFTER_MS: Final = 60_000
"""A due time is missed when it is later than this."""
WALK: Final = 1_000
"""Most due times of a cron expression that one turn goes through; the next turn goes on behind them."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Missed(IntEnum):
    """What is done about missed due times. Values equal those of `forebay.tasks.v1.MissedPolicy`."""

    SKIP = 1
    RUN_ONCE = 2


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Due times: by `cron` in `zone`, or every `interval_ms` from `start_ms` on. Raises ValueError, with a sentence
    for people, for a cron expression, a time zone or an interval that means nothing.
    """

    cron: str = ""
    """Five fields; empty for an interval."""
    zone: str = "UTC"
    """IANA name."""
    interval_ms: int = 0
    start_ms: int = 0
    """When the schedule was made, in milliseconds since the Unix epoch."""

    def __post_init__(self) -> None:
        """Check what was given."""
        if not self.cron:
            if self.interval_ms < 1:
                raise ValueError("an interval must be at least 1 ms long")
            return
        if len(self.cron.split()) != 5:
            raise ValueError(
                "a cron expression has five fields: minute, hour, day of month, month, day of week"
            )
        self._walk(self.start_ms)

    def after(self, time_ms: int) -> int:
        """Return the first due time after a moment; 0 when there is none (for half a century at least)."""
        if self.cron:
            return next((_to_ms(due) for due in self._walk(time_ms)), 0)
        turns = max(0, time_ms - self.start_ms) // self.interval_ms + 1
        return self.start_ms + turns * self.interval_ms

    def until(self, due_ms: int, last_ms: int) -> tuple[int, int]:
        """Return how many due times there are from `due_ms`, which is one, to `last_ms`, and the latest of them: of a
        cron expression at most WALK.
        """
        if due_ms > last_ms:
            return 0, 0
        if not self.cron:
            further = (last_ms - due_ms) // self.interval_ms
            return further + 1, due_ms + further * self.interval_ms
        count, latest = 1, due_ms
        for due in islice(self._walk(due_ms), WALK - 1):
            if (time_ms := _to_ms(due)) > last_ms:
                break
            count, latest = count + 1, time_ms
        return count, latest

    def _walk(self, time_ms: int) -> CronSim:
        try:
            moment = (_EPOCH + time_ms * _MILLISECOND).astimezone(ZoneInfo(self.zone))
        except (KeyError, ValueError, OSError):
            # ZoneInfoNotFoundError is a KeyError; an OSError comes of a name that is a directory.
            raise ValueError(f"{self.zone!r} is not the name of a time zone, such as Europe/Berlin") from None
        try:
            return CronSim(self.cron, moment)
        except (CronSimError, AssertionError) as error:
            # The library asserts on a range such as L/2, which it cannot step through.
            raise ValueError(f"not a cron expression: {str(error).lower() or 'bad step'}") from None


class Turn(NamedTuple):
    """What one look at a due schedule comes to."""

    fire_ms: int
    """The due time to make a task for; 0 for none."""
    missed: int
    """Due times that make no task."""
    next_ms: int
    """The next due time, which may have passed already; 0 when there is none any more."""


def turn(recurrence: Recurrence, missed: Missed, due_ms: int, now_ms: int) -> Turn:
    """Return what is to be done about a schedule that was due at `due_ms`; nothing when that is to come."""
    if due_ms > now_ms:
        return Turn(0, 0, due_ms)
    count, latest = recurrence.until(due_ms, now_ms - MISSED_AFTER_MS - 1)
    if not count:
        return Turn(due_ms, 0, recurrence.after(due_ms))
    next_ms = recurrence.after(latest)
    if missed is Missed.SKIP or 0 < next_ms < now_ms - MISSED_AFTER_MS:
        return Turn(0, count, next_ms)
    return Turn(latest, count - 1, next_ms)


def _to_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND
