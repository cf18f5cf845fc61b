"""Keeps the embedded broker's log sound and bounded: exchanges its folder before it is used, and while it is.

An exchange ends the scheduler, then the broker, starts the broker on the fresh folder, starts the scheduler, puts
everything that has not ended on the new log, and removes the old folder. The scheduler must not see both logs: what it
would still acknowledge of the old one would be taken for messages of the new one, whose numbers are the same. The
gateway stays: what it is sending waits in the client and goes to the new log. A death in between is made good at the
next start.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from scheduler.errors import StartupRefused
from services.cli.up import repair
from services.cli.up.supervisor import Say, Supervisor
from services.embedded.log_folders import LogFolders

BROKER: Final = "pulsar-lite"
SCHEDULER: Final = "scheduler"
CHECK_S: Final = 5.0
"""Between two looks at the log, and before what failed is tried again."""
HALT_S: Final = 3.0
"""How long scheduler and broker may take to end."""
REPAIR_LIMIT_S: Final = 600.0
EXAMINE_LIMIT_S: Final = 120.0
GROWTH: Final = 2
"""What has not ended may itself be larger than the limit: the log may then grow to so many times of it."""
MIB: Final = 1 << 20
ROOM_BYTES: Final = 16 * MIB
"""Least room in which a fresh log is begun: a broker that cannot write its first files dies, and all die with it."""

Command = Callable[[Path], list[str]]
"""Makes the broker's command line for a folder."""


class LogKeeper:
    """Decides about the folder, and moves the platform from one to the next."""

    def __init__(
        self,
        folders: LogFolders,
        command: Command,
        url: str,
        *,
        limit_bytes: int,
        say: Say,
    ) -> None:
        """`command` and `url` are the broker's; `limit_bytes` is the size at which a folder is exchanged."""
        self._folders = folders
        self._command = command
        self._url = url
        self._limit_bytes = limit_bytes
        self._say = say
        self._orphaned = False
        self._waits_for_room = False

    async def choose(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """Return the command of a broker on a folder that is sound and within the limit. Nothing runs yet."""
        folders = self._folders
        # Asked before the broker makes a folder.
        self._orphaned = folders.orphaned
        if self._orphaned:
            self._say(
                "log", "there is a log but there are no records: if they were lost, run: forebay recover"
            )
            folders.opened()
            return tuple(self._command(folders.folder))
        if folders.suspicious:
            self._say("log", "forebay did not end in order the last time: checking the log")
            present = tuple(self._command(folders.folder))
            if not await repair.delivers(present, self._url, variables, EXAMINE_LIMIT_S):
                self._say("log", "the log is damaged: it goes aside, and open tasks go on a new one")
                folders.begin(broken=True)
        if not folders.exchanging and folders.size_bytes() > self._limit_bytes:
            folders.begin(broken=False)
        folders.opened()
        return tuple(self._command(folders.folder))

    async def watch(self, supervisor: Supervisor, variables: Mapping[str, str]) -> None:
        """Complete what was begun, then exchange the folder whenever it is too large, or cannot be read. Endless:
        cancel it.

        Only after `choose`.
        """
        if self._orphaned:
            # An exchange would remove what the records can be made from again; the next start knows more.
            return
        limit = self._limit_bytes
        while True:
            if self._folders.exchanging and await self._complete(variables):
                limit = self._next_limit()
            await asyncio.sleep(CHECK_S)
            size = await asyncio.to_thread(self._folders.size_bytes)
            damaged = supervisor.damaged(BROKER)
            # One that is not complete yet may be damaged too. That it is too large is seen once it is.
            needed = damaged or (size > limit and not self._folders.exchanging)
            if needed and self._has_room():
                await self._exchange(supervisor, size, damaged=damaged)

    def closed(self) -> None:
        """Note that the broker ended after everybody else."""
        # Without the note the next start looks through the log.
        with suppress(OSError):
            self._folders.closed()

    def _has_room(self) -> bool:
        """Whether a fresh log can be begun; says it once when it cannot."""
        free = self._folders.free_bytes()
        waits = free < ROOM_BYTES
        if waits and not self._waits_for_room:
            self._say("log", f"a fresh log is needed and only {free // MIB} MiB are free: make room")
        self._waits_for_room = waits
        return not waits

    async def _exchange(self, supervisor: Supervisor, size: int, *, damaged: bool) -> None:
        """Move to a fresh folder."""
        begun = time.monotonic()
        why = "is damaged" if damaged else f"has {size // MIB} MiB"
        self._say("log", f"the log {why}: going on with a fresh one")
        async with supervisor.surgery:
            await supervisor.halt(SCHEDULER, HALT_S)
            await supervisor.halt(BROKER, HALT_S)
            await supervisor.resume(BROKER, await self._fresh(broken=damaged))
            await supervisor.resume(SCHEDULER)
        self._say("log", f"the log was away for {time.monotonic() - begun:.1f} s")

    async def _fresh(self, *, broken: bool) -> list[str]:
        """Return the command of a broker on a fresh folder, once there can be one. The broker must not run."""
        while True:
            try:
                return self._command(self._folders.begin(broken=broken))
            except OSError as error:
                # Which folder counts is not certain then, so none is used until it is.
                self._say("log", f"there can be no fresh log ({error}); trying again in {CHECK_S:g} s")
            await asyncio.sleep(CHECK_S)

    async def _complete(self, variables: Mapping[str, str]) -> bool:
        """Try to put everything that has not ended on the present log, and then remove the old one; return whether it
        was done.
        """
        begun = time.monotonic()
        try:
            tasks = await repair.republish(variables, REPAIR_LIMIT_S)
            await asyncio.to_thread(self._folders.finish)
        except (StartupRefused, OSError) as error:
            self._say("log", f"open tasks are not on the new log ({error}); trying again in {CHECK_S:g} s")
            return False
        self._say("log", f"{tasks} open tasks are on the new log after {time.monotonic() - begun:.1f} s")
        return True

    def _next_limit(self) -> int:
        """Return the limit of a log that holds nothing but what has not ended."""
        return max(self._limit_bytes, GROWTH * self._folders.size_bytes())
