"""What becomes of the tasks that a runner held when it ended, by the journal that it left behind.

The runner wrote inference/journal.py. Here the attempts of a death are divided (quarantine by bisection): what
its engine was executing is suspect. A single suspect was alone, so the attempt is charged; several go into isolation in
two halves, uncharged, until the one at fault dies alone. Whatever else was held goes back as it was. Where direct
calls may be to blame, of which there is no record, a task that was the only one is isolated, but not charged.
"""

import logging
import secrets
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from inference.agent.memory_kills import MemoryKills
from inference.agent.process import describe_exit
from inference.journal import Attempt, Remains, read_journal
from inference.presence import EXIT_OUT_OF_MEMORY, EXIT_STUCK
from scheduler.errors import RecordsUnavailable, RunnerCrashed, RunnerLost, RunnerOutOfMemory
from scheduler.ports.clock import Clock
from scheduler.ports.sweeps import Death, SweepStore
from services.status import to_status

BLAMELESS: Final = frozenset({0, EXIT_STUCK, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})
"""Exits that no open task has caused: the runner was asked to end, or ended because of a task that is over."""
PAUSES_S: Final = (0.1, 0.4, 1.0)
"""Rests between tries while the record store does not answer; after the last the leases have to run out."""
LARGEST_CALL: Final = 512

_log = logging.getLogger(__name__)


class Examiner(Protocol):
    """Finds out what a runner died of, and settles what it held."""

    def memory_kills(self) -> int:
        """Return how often the kernel has killed for memory: to be noted when a runner starts."""
        ...

    async def examine(self, journal: Path, code: int, kills_before: int, *, blameless: bool = False) -> bool:
        """Settle what a runner held. Returns whether tasks are suspected of its death."""
        ...


class PostMortem:
    """Tells the record store of attempts whose runner has ended."""

    def __init__(
        self,
        sweeps: SweepStore,
        clock: Clock,
        memory_kills: MemoryKills,
        new_group: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """`new_group` makes names for groups of suspects that nobody else makes."""
        self._sweeps = sweeps
        self._clock = clock
        self._memory_kills = memory_kills
        self._new_group = new_group

    def memory_kills(self) -> int:
        """Return how often the kernel has killed for memory: to be noted when a runner starts."""
        return self._memory_kills.count()

    async def examine(self, journal: Path, code: int, kills_before: int, *, blameless: bool = False) -> bool:
        """Settle what a runner held; the file goes. Returns whether tasks are suspected of its death.

        `blameless` when its end was this agent's doing. A store that does not answer is asked again for a few
        seconds, then leases run out. Cancelling it leaves the rest to the leases too.
        """
        remains = _take(journal)
        blameless = blameless or code in BLAMELESS
        deaths = deaths_of(remains, blameless=blameless, new_group=self._new_group)
        if deaths:
            await self._tell(deaths, self._error(code, kills_before, blameless=blameless))
        return (bool(remains.executing) or remains.executing_calls) and not blameless

    def _error(self, code: int, kills_before: int, *, blameless: bool) -> RunnerLost:
        how = describe_exit(code)
        if blameless:
            return RunnerLost(f"its runner ended ({how})")
        killed = code == -signal.SIGKILL and self._memory_kills.count() > kills_before
        if killed or code == EXIT_OUT_OF_MEMORY:
            return RunnerOutOfMemory(f"its runner ran out of memory while it executed the task ({how})")
        return RunnerCrashed(f"its runner died while it executed the task ({how})")

    async def _tell(self, deaths: Sequence[Death], error: RunnerLost) -> None:
        status = to_status(error).SerializeToString()
        ended = 0
        for first in range(0, len(deaths), LARGEST_CALL):
            part = deaths[first : first + LARGEST_CALL]
            answer = await self._until_answered(part, error.reason, status)
            if answer is None:
                _log.warning("records unavailable, tasks of a dead runner wait for the end of their leases")
                return
            ended += answer
        suspects = [death.id for death in deaths if death.charged or death.isolation]
        _log.warning(
            "tasks taken back from a runner that ended",
            extra={"tasks": ended, "reason": error.reason, "suspects": len(suspects)},
        )

    async def _until_answered(self, deaths: Sequence[Death], reason: str, status: bytes) -> int | None:
        for pause_s in (*PAUSES_S, None):
            try:
                return await self._sweeps.runner_died(deaths, reason, status)
            except RecordsUnavailable:
                if pause_s is not None:
                    await self._clock.sleep(pause_s)
        return None


def _take(journal: Path) -> Remains:
    remains = read_journal(journal)
    journal.unlink(missing_ok=True)
    return remains


def deaths_of(remains: Remains, *, blameless: bool, new_group: Callable[[], str]) -> list[Death]:
    """Divide what a runner left behind: who is charged, who is isolated, who goes back as it was."""
    executing, waiting, executing_calls, held_calls = remains
    if blameless:
        return [_as_it_was(one) for one in (*executing, *waiting)]
    others = executing_calls
    if not executing and not executing_calls:
        # Its input or its output may have been too much, outside of the engine: without suspects that never ended.
        executing, waiting, others = waiting, (), held_calls
    return _isolated(executing, new_group, others=others) + [_as_it_was(one) for one in waiting]


def _isolated(suspects: Sequence[Attempt], new_group: Callable[[], str], *, others: bool) -> list[Death]:
    """Charge a single suspect, unless there are `others` that cannot be and it was not suspected before; it also
    executes alone from now on. Divide several in two groups.
    """
    if len(suspects) == 1:
        [one] = suspects
        return [Death(one.id, one.attempt, not others or bool(one.isolation), new_group())]
    middle = (len(suspects) + 1) // 2
    halves = (suspects[:middle], suspects[middle:])
    return [
        Death(one.id, one.attempt, False, group)
        for half, group in ((half, new_group()) for half in halves if half)
        for one in half
    ]


def _as_it_was(one: Attempt) -> Death:
    return Death(one.id, one.attempt, False, one.isolation)
