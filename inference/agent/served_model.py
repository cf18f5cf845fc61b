"""One model of a host through its life: loaded, loaded anew beside what serves, unloaded.

A new crew starts beside the one that serves. Once all of it is READY it takes over, and the old one drains when
everybody who sends work has had the time to notice the new one. A crew of which a part cannot be loaded is ended, and
the old one goes on.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from inference.agent.crew import Crew, Keep
from inference.agent.posts import posts_of
from inference.repository.listing import ListedModel
from scheduler.ports.clock import Clock

OVERLAP_S: Final = 2.0
"""How long old and new runners serve together: gateways and schedulers look twice a second who is there."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Wish:
    """What the model is to be."""

    loaded: bool
    number: int = 0
    """Of the word of an operator; 0 for what the agent does by itself."""


class ServedModel:
    """`run` runs it once; a wish that comes while another one is carried out takes its place."""

    def __init__(
        self, listed: ListedModel, keep: Keep, clock: Clock, changed: Callable[[], None], *, loaded: bool
    ) -> None:
        """`changed` is called after every change of what can be seen from outside."""
        self.listed = listed
        """Its files, as they were listed last."""
        self.serving: Crew | None = None
        self.coming: Crew | None = None
        """The crew that is to take over."""
        self.leaving: list[Crew] = []
        """Crews that drain, or are about to."""
        self.refusal = ""
        """Why words of operators are not obeyed; empty while they are."""
        self.number = 0
        """Of the last word of an operator."""
        self.settled = False
        """Whether what was wished last is done, or failed."""
        self._wish = _Wish(loaded)
        self._keep = keep
        self._clock = clock
        self._changed = changed
        self._generation = 0
        self._not_loaded: tuple[int, str] | None = None
        """Why the last crew could not take over."""
        self._news = asyncio.Event()
        self._group: asyncio.TaskGroup

    @property
    def wanted(self) -> bool:
        """Whether it is to be loaded."""
        return self._wish.loaded

    @property
    def fault(self) -> tuple[int, str] | None:
        """The version and the reason for which it is not served as its folder is now; None when it is."""
        if self._not_loaded is not None or self.serving is None:
            return self._not_loaded
        return self.serving.fault

    @property
    def name(self) -> str:
        """Its name."""
        return self.listed.name

    def load(self, listed: ListedModel, number: int = 0) -> None:
        """Have it served as its folder is now, from scratch."""
        self.listed = listed
        self._take(_Wish(True, number))

    def unload(self, number: int = 0) -> None:
        """Have its runners drained and ended."""
        self._take(_Wish(False, number))

    def refuse(self, number: int, reason: str) -> None:
        """Answer a word without doing anything."""
        self.number = max(self.number, number)
        self.refusal = reason
        self._changed()

    async def run(self) -> None:
        """Carry out wishes for ever. Cancelling it lets all runners drain within their grace period."""
        async with asyncio.TaskGroup() as self._group:
            while True:
                self._news.clear()
                wish = self._wish
                self.settled, self._not_loaded = False, None
                self._changed()
                await (self._load() if wish.loaded else self._unload())
                if wish is self._wish:
                    self.settled = True
                    self._changed()
                    await self._news.wait()

    def _take(self, wish: _Wish) -> None:
        self.number = max(self.number, wish.number)
        self.settled = False
        self._wish = wish
        self._news.set()
        self._changed()

    async def _load(self) -> None:
        serving = self.serving
        if serving is not None and serving.serves:
            await self._load_beside(serving)
            return
        if serving is not None:
            # Nobody is served by it: a model that could not be used, or one that was never READY.
            self._dismiss(serving)
        await self._room()
        if self._news.is_set():
            return
        self.serving = crew = self._new_crew()
        await self._unless_news(crew.settled.wait())

    async def _load_beside(self, serving: Crew) -> None:
        if self.listed.fault:
            self._keeps_serving(0, self.listed.fault)
            return
        await self._room()
        if self._news.is_set():
            return
        self.coming = crew = self._new_crew()
        await self._unless_news(crew.decided.wait())
        self.coming = None
        if crew.ready:
            self.serving = crew
            _log.info("model loaded anew", extra={"model": self.name, "generation": self._generation})
            self.leaving.append(serving)
            self._group.create_task(self._relieve(serving, OVERLAP_S))
            self._changed()
            return
        fault = crew.fault
        self._dismiss(crew)
        if fault is not None:
            self._keeps_serving(*fault)

    async def _unload(self) -> None:
        if self.serving is not None:
            self._dismiss(self.serving)
            _log.info("model unloaded", extra={"model": self.name})
        await self._room()

    def _keeps_serving(self, version: int, reason: str) -> None:
        self._not_loaded = (version, reason)
        _log.error(
            "model not loaded anew, what was served before is still served",
            extra={"model": self.name, "reason": reason},
        )

    def _new_crew(self) -> Crew:
        self._generation += 1
        crew = Crew(posts_of(self.listed, self._generation), self._keep, self._changed)
        crew.start(self._group)
        self._changed()
        return crew

    def _dismiss(self, crew: Crew) -> None:
        """Let a crew drain, beside whatever comes next."""
        if crew is self.serving:
            self.serving = None
        self.leaving.append(crew)
        self._group.create_task(self._relieve(crew, 0.0))

    async def _relieve(self, crew: Crew, after_s: float) -> None:
        if after_s:
            await self._clock.sleep(after_s)
        await crew.end()
        self.leaving.remove(crew)
        self._changed()

    async def _room(self) -> None:
        """Wait until crews that leave have left, for a host has memory for two at most, or until there is news."""
        while self.leaving and not self._news.is_set():
            await self._unless_news(*(crew.ended.wait() for crew in self.leaving))

    async def _unless_news(self, *waits: Coroutine[Any, Any, object]) -> None:
        """Wait until the first of these is done, or there is news."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait) for wait in (*waits, self._news.wait())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
