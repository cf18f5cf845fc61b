"""Processes that can be killed, stopped and continued at any moment, and the clocks that they see."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.simulation.virtual_time import BODY, NOBODY, VirtualLoop

EPOCH_MS: Final = 1_700_000_000_000
"""The record store's clock at the beginning of every world."""


class Process:
    """One life of one program."""

    def __init__(self, loop: VirtualLoop, name: str, wall_offset_ms: int = 0) -> None:
        self.name = name
        self.loop = loop
        self.dead = False
        self.stopped = False
        self.wall_offset_ms = wall_offset_ms
        self.clock = ProcessClock(self)
        self.at_death: list[Callable[[], object]] = []
        """What the world around does when it dies: connections break."""
        self._parked: list[asyncio.Handle] = []
        self._context = NOBODY.copy()
        self._context.run(BODY.set, self)

    def __repr__(self) -> str:
        return self.name

    def spawn(self, main: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Run a coroutine in the name of this process."""
        return self.loop.create_task(main, context=self._context.copy())

    def soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call something in the name of this process."""
        self.loop.call_soon(callback, *args, context=self._context)

    def freeze(self) -> None:
        """SIGSTOP: nothing of it runs until `thaw`."""
        self.stopped = True

    def thaw(self) -> None:
        """SIGCONT: what became ready meanwhile runs now, timers included."""
        if self.dead:
            return
        self.stopped = False
        parked, self._parked = self._parked, []
        for handle in parked:
            self.loop._ready.append(handle)

    def kill(self) -> None:
        """SIGKILL: nothing of it ever runs again."""
        if self.dead or self.loop.is_closed():
            return
        self.dead = self.stopped = True
        self._parked.clear()
        for consequence in self.at_death:
            consequence()

    def park(self, handle: asyncio.Handle) -> None:
        """Keep a callback for `thaw`; the dead forget it."""
        if not self.dead:
            self._parked.append(handle)


class ProcessClock:
    """The clock of one process: its wall clock is its own, durations are right."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now_ms(self) -> int:
        return wall_ms(self._process)

    def monotonic(self) -> float:
        return self._process.loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class StoreClock:
    """The record store's own clock. `shift_ms` is for sabotage."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.shift_ms = 0

    def now_ms(self) -> int:
        return self.true_ms() + self.shift_ms

    def true_ms(self) -> int:
        """Return what it says when nobody has tampered with it."""
        return EPOCH_MS + int(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def wall_ms(process: Process) -> int:
    """Return what the wall clock of a process says."""
    return EPOCH_MS + process.wall_offset_ms + int(process.loop.time() * 1000)


def current_wall_ms(loop: VirtualLoop) -> int:
    """Return the wall clock of whoever asks."""
    body = BODY.get()
    return wall_ms(body) if isinstance(body, Process) else EPOCH_MS + int(loop.time() * 1000)
