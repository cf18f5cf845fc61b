"""All models of one host: follows their folders and what operators want, and tells gateways how far each is."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from forebay.models.v1.repository_view_pb2 import RepositoryView
from inference.agent.announcing import ViewAnnouncer
from inference.agent.crew import Keep
from inference.agent.folders import Folders
from inference.agent.served_model import ServedModel
from inference.agent.settings import ModelControl
from inference.agent.view import held_model
from inference.repository.listing import ListedModel
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from scheduler.ports.wanted_models import WantedModel, WantedModels

LOOK_S: Final = 0.5
"""Pause between two looks at the folders of the repository."""
FOLLOW_S: Final = 0.5
"""Pause between two looks at what operators want."""
NEVER_CHANGED: Final = "models of this agent are never changed: its agent.model_control is none"

_log = logging.getLogger(__name__)


class Host:
    """Put together but not started; `run` runs it once."""

    def __init__(
        self,
        control: ModelControl,
        folders: Folders,
        named: Sequence[str],
        keep: Keep,
        membership: Membership,
        wanted: WantedModels,
        clock: Clock,
        settled: Callable[[], None],
    ) -> None:
        """`named` are the models that are served from the start whatever `control` is. `settled` is called once every
        model that is loaded at the start was ready or is known to be unusable.
        """
        self._control = control
        self._folders = folders
        self._named = frozenset(named)
        self._keep = keep
        self._wanted = wanted
        self._clock = clock
        self._settled = settled
        self._id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._models: dict[str, tuple[ServedModel, asyncio.Task[None]]] = {}
        self._reading = asyncio.Lock()
        """Held by whoever uses `folders`, in a thread."""
        self._heard: int | None = None
        """The highest number that was heard; None before the first look."""
        self._open: set[str] | None = None
        """Models of the start that are not settled; None before it and once all are."""
        self._announcer = ViewAnnouncer(self._id, self._view, membership, clock)
        self._group: asyncio.TaskGroup

    async def run(self) -> None:
        """Serve for ever. Cancelling it lets all runners drain within their grace period."""
        async with self._reading:
            found = await asyncio.to_thread(self._folders.first)
        async with asyncio.TaskGroup() as self._group:
            for name, listed in found.items():
                self._add(listed, loaded=self._control is not ModelControl.EXPLICIT or name in self._named)
            self._open = {name for name, (model, _) in self._models.items() if model.wanted}
            self._look_settled()
            sides = [self._follow(), self._announcer.run()]
            if self._control is not ModelControl.NONE:
                sides.append(self._watch())
            for side in sides:
                self._group.create_task(side)

    def _add(self, listed: ListedModel, *, loaded: bool) -> None:
        model = ServedModel(listed, self._keep, self._clock, self._changed, loaded=loaded)
        self._models[listed.name] = model, self._group.create_task(model.run())

    def _changed(self) -> None:
        self._announcer.changed.set()
        self._look_settled()

    def _look_settled(self) -> None:
        if self._open is None:
            return
        self._open = {
            name for name in self._open if name in self._models and not self._models[name][0].settled
        }
        if not self._open:
            self._open = None
            self._settled()

    async def _watch(self) -> None:
        """Follow the folders of the repository."""
        while True:
            await self._clock.sleep(LOOK_S)
            async with self._reading:
                changes = await asyncio.to_thread(self._folders.look, self._clock.monotonic())
            self._take(changes)

    def _take(self, changes: Mapping[str, ListedModel | None]) -> None:
        explicit = self._control is ModelControl.EXPLICIT
        for name, listed in changes.items():
            known = self._models.get(name)
            _log.info("model folder changed", extra={"model": name, "there": listed is not None})
            if known is None:
                if listed is not None:
                    self._add(listed, loaded=not explicit)
            elif listed is None:
                if not (explicit and known[0].wanted):
                    self._drop(name)
            elif explicit or not known[0].wanted:
                known[0].listed = listed
            else:
                known[0].load(listed)
        if changes:
            self._changed()

    def _drop(self, name: str) -> None:
        """Let the runners of a model drain, and forget it."""
        _, task = self._models.pop(name)
        task.cancel()

    async def _follow(self) -> None:
        """Follow what operators want."""
        away = False
        while True:
            try:
                words = await self._wanted.wanted()
            except RecordsUnavailable as error:
                if not away:
                    _log.warning("what is wanted of models is not known", extra={"cause": str(error)})
                away = True
            else:
                away = False
                await self._hear(words)
            await self._clock.sleep(FOLLOW_S)

    async def _hear(self, words: Sequence[WantedModel]) -> None:
        latest = max((word.number for word in words), default=0)
        if self._heard is None:
            # What was unloaded before this agent began is loaded; what is loaded by hand alone stays so.
            explicit = self._control is ModelControl.EXPLICIT
            fresh = [word for word in words if explicit and word.loaded and word.model not in self._named]
        else:
            fresh = [word for word in words if word.number > (self._heard or 0)]
        for word in fresh:
            await self._obey(word)
        if latest > (self._heard if self._heard is not None else -1):
            self._heard = latest
            self._announcer.changed.set()

    async def _obey(self, word: WantedModel) -> None:
        known = self._models.get(word.model)
        if self._control is ModelControl.NONE:
            if known is not None:
                known[0].refuse(word.number, NEVER_CHANGED)
            return
        if not word.loaded:
            if known is not None:
                known[0].unload(word.number)
            return
        async with self._reading:
            listed = await asyncio.to_thread(self._folders.read, word.model)
        if listed is None:
            if known is not None:
                # Its folder is gone: that is said, and what serves goes on.
                known[0].load(_gone(known[0].listed), word.number)
            return
        if known is None:
            self._add(listed, loaded=False)
            known = self._models[word.model]
        known[0].load(listed, word.number)

    def _view(self) -> RepositoryView | None:
        """Return what is to be shown; nothing before it is known what operators want."""
        if self._heard is None:
            return None
        held = [held_model(model) for _, (model, _) in sorted(self._models.items())]
        return RepositoryView(agent=self._id, heard=self._heard, models=held)


def _gone(listed: ListedModel) -> ListedModel:
    return ListedModel(listed.name, listed.path, fault=f"{listed.path} does not exist")
