"""Starts processes in order, keeps them running, and takes them down in reverse.

Each child is spawned through `leash.py` in a process group of its own: Ctrl-C on the terminal reaches only us, and
SIGKILL of us reaches every child. A child that dies is started again with growing pauses; too many deaths within a
minute end everything.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from scheduler.errors import StartupRefused
from services.cli.exits import cause
from services.cli.up import spawn
from services.cli.up.child import DEATHS_ALLOWED, Child
from services.cli.up.logs import ChildLog
from services.cli.up.plan import ProcessSpec
from services.cli.up.readiness import wait_ready

T = TypeVar("T")
Say = Callable[[str, str], None]
"""Tells a person something: who it is about, and the sentence."""

DEATHS_WITHIN_S: Final = 60.0
"""So many deaths as are allowed within this time end everything."""
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
LAST_WORDS_S: Final = 1.0
"""How long output is still read after a child's death; its own children may hold the pipe open."""


class Stopped(Exception):
    """The person asked for the end while something was still being waited for."""


class Killed(Stopped):
    """The person did not want to wait for the end either."""


class Supervisor:
    """Owns the children between entering and leaving `running`."""

    def __init__(self, specs: Sequence[ProcessSpec], logs: Path, say: Say) -> None:
        """Take the plan, the folder for log files (made here), and the way to tell a person things."""
        logs.mkdir(parents=True, exist_ok=True)
        self._say = say
        self._children = {
            spec.name: Child(spec, ChildLog(logs / f"{spec.name}.log", partial(say, spec.name), spec.damage))
            for spec in specs
        }
        for child in self._children.values():
            child.wanted.set()
        self._ending = asyncio.Event()
        self._killed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self.surgery = asyncio.Lock()
        """Held by whoever halts a child to resume it."""
        self.failure: StartupRefused | None = None
        """Why everything ends, when it is not by wish."""

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the children that run, by name."""
        return {
            name: c.process.pid
            for name, c in self._children.items()
            if c.process and c.process.returncode is None
        }

    @property
    def ending(self) -> asyncio.Event:
        """Set once everything is to end, by wish or by failure."""
        return self._ending

    @property
    def killed(self) -> bool:
        """Whether children were killed by wish."""
        return self._killed.is_set()

    def stop(self) -> None:
        """Ask for the end: children drain in reverse order. Idempotent."""
        self._ending.set()

    def kill(self) -> None:
        """End every child, and what they started, at once. Idempotent."""
        self._ending.set()
        self._killed.set()
        for child in self._children.values():
            if child.process and child.process.returncode is None:
                spawn.kill_group(child.process.pid)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the children for as long as the block lasts; on leaving they are down, whatever happened.

        What the block raises arrives as itself. Raises Killed when children were killed by wish.
        """
        escaped: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for child in self._children.values():
                    group.create_task(self._keep(child), name=f"keep {child.spec.name}")
                try:
                    yield
                except Exception as error:
                    escaped = error
                finally:
                    self._ending.set()
                    await self._drain()
        finally:
            for child in self._children.values():
                child.log.close()
        if self._killed.is_set() and isinstance(escaped, Stopped | None):
            raise Killed from escaped
        if escaped:
            raise escaped

    async def started(self) -> None:
        """Wait until every child has been ready. Raises Stopped or StartupRefused when that will not be."""
        for child in self._children.values():
            await self.unless_ending(child.ready.wait())

    async def unless_ending(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something, but no longer than everything runs; it is cancelled then.

        Raises StartupRefused when a child would not stay alive, Stopped when a person asked for the end.
        """
        async with asyncio.TaskGroup() as group:
            job = group.create_task(_caught(work))
            end = group.create_task(self._ending.wait())
            await asyncio.wait((job, end), return_when=asyncio.FIRST_COMPLETED)
            end.cancel()
            job.cancel()
        if not job.cancelled():
            result, error = job.result()
            if error is None:
                return result  # type: ignore[return-value]
            raise error
        if self.failure:
            raise self.failure
        raise Stopped

    def alongside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something for as long as everything runs; it is cancelled then. Only inside `running`."""
        if self._group is None:
            work.close()
            raise RuntimeError("nothing runs")
        self._group.create_task(self._alongside(work))

    async def ready(self, name: str) -> None:
        """Wait until a child is ready. Raises Stopped or StartupRefused when that will not be."""
        await self.unless_ending(self._children[name].ready.wait())

    def damaged(self, name: str) -> bool:
        """Whether the present process of a child has complained that it cannot read its files."""
        return self._children[name].log.damaged

    async def halt(self, name: str, within_s: float) -> None:
        """End a child and keep it down until `resume`; it is killed when it takes longer than `within_s`."""
        child = self._children[name]
        child.wanted.clear()
        child.halted = True
        child.ready.clear()
        if child.process and child.process.returncode is None:
            await self._end_process(child, child.process, within_s)

    async def resume(self, name: str, command: Sequence[str] | None = None) -> None:
        """Start a halted child again, with another command when one is given, and wait until it is ready.

        Raises Stopped or StartupRefused when that will not be.
        """
        child = self._children[name]
        if command is not None:
            child.spec = replace(child.spec, command=tuple(command))
        child.wanted.set()
        await self.ready(name)

    async def _alongside(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(Stopped, StartupRefused):
            await self.unless_ending(work)

    async def _keep(self, child: Child) -> None:
        """Start a child after those it needs, and again after each death, until the end."""
        for name in child.spec.after:
            if not await self._ready_or_ending(self._children[name]):
                return
        pause_s = FIRST_PAUSE_S
        while await self._wanted_or_ending(child):
            born = time.monotonic()
            try:
                await self._live(child)
            except OSError as error:
                child.verdict = f"cannot be started: {cause(error)}"
            if self._ending.is_set():
                return
            if child.halted:
                continue
            if child.log.refusal and not child.once_ready:
                self._end(f"{child.spec.name} cannot start: {child.log.refusal}")
                return
            now = time.monotonic()
            pause_s = FIRST_PAUSE_S if now - born > DEATHS_WITHIN_S else pause_s
            why = child.last_words()
            child.deaths.append(now)
            if len(child.deaths) == DEATHS_ALLOWED and now - child.deaths[0] < DEATHS_WITHIN_S:
                self._end(
                    f"{child.spec.name} died {DEATHS_ALLOWED} times within a minute ({why}); everything was stopped. "
                    f"Its log is {child.log.path}"
                )
                return
            self._say(child.spec.name, f"died ({why}); starting it again in {pause_s:.1f} s")
            for name in child.spec.renews:
                await self._renew(self._children[name])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._ending.wait()
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _renew(self, child: Child) -> None:
        """Start a child anew, unless it is down anyway, or somebody is at it: it may wait for the dead one."""
        if self.surgery.locked() or not child.ready.is_set():
            return
        with contextlib.suppress(Stopped, StartupRefused):
            async with self.surgery:
                await self.halt(child.spec.name, child.spec.grace_s)
                await self.resume(child.spec.name)

    def _end(self, why: str) -> None:
        """End everything for a reason."""
        self.failure = StartupRefused(why)
        self._ending.set()

    async def _live(self, child: Child) -> None:
        """Run a child once, from its start to its death."""
        child.verdict = child.log.last_error = child.log.refusal = ""
        child.log.damaged = False
        child.halted = False
        process = child.process = await spawn.start(child.spec)
        if self._killed.is_set():
            spawn.kill_group(process.pid)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(spawn.copy_output(process, child.log))
            probing = group.create_task(self._announce(child, process))
            await process.wait()
            child.ready.clear()
            probing.cancel()
            await asyncio.wait((listening,), timeout=LAST_WORDS_S)
            listening.cancel()

    async def _announce(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Say when a child is ready; kill it when it takes too long."""
        begun = time.monotonic()
        self._say(child.spec.name, f"starting, pid {process.pid}")
        try:
            async with asyncio.timeout(child.spec.start_limit_s):
                await wait_ready(child.spec.ready)
        except TimeoutError:
            child.verdict = f"was not ready within {child.spec.start_limit_s:g} s"
            spawn.kill_group(process.pid)
            return
        if process.returncode is None and not self._ending.is_set():
            self._say(child.spec.name, f"ready after {time.monotonic() - begun:.1f} s")
            child.once_ready = True
            child.ready.set()

    async def _drain(self) -> None:
        """Ask children to end, last started first, and insist after each one's grace."""
        for child in reversed(self._children.values()):
            if child.process is not None:
                await self._end_process(child, child.process, child.spec.grace_s)

    async def _end_process(self, child: Child, process: asyncio.subprocess.Process, grace_s: float) -> None:
        """Ask a process to end, and insist after its grace."""
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            self._say(child.spec.name, f"did not end within {grace_s:g} s and was killed")
        finally:
            # Also what it may have left behind in its group.
            spawn.kill_group(process.pid)
        await process.wait()

    async def _wanted_or_ending(self, child: Child) -> bool:
        """Wait until a child shall run; False when nothing shall run any more."""
        with contextlib.suppress(Stopped, StartupRefused):
            if not child.wanted.is_set():
                await self.unless_ending(child.wanted.wait())
        return not self._ending.is_set()

    async def _ready_or_ending(self, child: Child) -> bool:
        with contextlib.suppress(Stopped, StartupRefused):
            await self.unless_ending(child.ready.wait())
            return True
        return False


async def _caught(work: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """Keep an error out of the task group's hands, so that it arrives as itself."""
    try:
        return await work, None
    except Exception as error:
        return None, error
