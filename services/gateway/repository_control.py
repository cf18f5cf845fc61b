"""What the repositories of all agents hold, and loading and unloading it: for every door that offers that.

A wish goes into the record store, which every agent follows. An agent tells in its view which wishes it has heard and
what came of them, so whoever wished waits for the views.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from forebay.models.v1 import model_service_pb2 as models
from forebay.models.v1.repository_view_pb2 import HeldModel
from inference.repository.progress import FURTHEST
from scheduler.errors import DeadlinePassed, InvalidInput, ModelNotFound, ModelNotReady, ModelUnusable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from scheduler.ports.wanted_models import WantedModels
from services.gateway.announced import repository_views, runners
from services.gateway.request_validation import check_model

LOOK_S: Final = 0.1
"""Pause between two looks at what became of a wish."""

WITHIN_S: Final = 600.0
"""Longest that a load or an unload is waited for: models of gigabytes load for minutes."""

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Done:
    """A wish that is over with everywhere."""

    held: Sequence[HeldModel]
    """The model as each agent has it."""


class RepositoryControl:
    """Every method raises RecordsUnavailable."""

    def __init__(
        self,
        membership: Membership,
        wanted: WantedModels,
        clock: Clock,
        noticed: Callable[[], Awaitable[None]],
    ) -> None:
        """`noticed` lets this gateway look who is there: what was loaded can be called once it returns."""
        self._membership = membership
        self._wanted = wanted
        self._clock = clock
        self._noticed = noticed

    async def index(self, *, ready: bool = False) -> list[models.RepositoryEntry]:
        """Return all versions of all models by name and version, also those that runners without an agent serve; only
        those that are READY when `ready` is true.
        """
        views = await repository_views(self._membership)
        held = [model for view in views for model in view.models]
        # What is told to be READY can be called here.
        await self._noticed()
        found = _joined(entry for model in held for entry in model.entries)
        known = {entry.name for entry in found}
        for status in await runners(self._membership):
            runner = status.runner
            if runner.model not in known:
                entry = models.RepositoryEntry(
                    name=runner.model, version=runner.version, state=runner.state, reason=runner.reason
                )
                found = _joined([*found, entry])
        return [entry for entry in found if not ready or entry.state == models.RUNNER_STATE_READY]

    async def load(self, model: str) -> None:
        """Have every agent that has a model serve it as its folder is now; returns once this gateway can call it.

        Raises InvalidInput for what cannot be a name, ModelNotFound when no agent has it, ModelNotReady when the agents
        went, ModelUnusable with the reason: what was served before is still served then, and DeadlinePassed after
        `WITHIN_S`. Cancelling it changes nothing: loading goes on, as it does then.
        """
        await self._have(model, loaded=True)

    async def unload(self, model: str) -> None:
        """Have every agent end the runners of a model once they have finished what they hold, and wait for that.

        Raises as `load` does.
        """
        await self._have(model, loaded=False)

    async def _have(self, model: str, *, loaded: bool) -> None:
        until_s = self._clock.monotonic() + WITHIN_S
        done = await self._wish(model, loaded, until_s)
        reasons = sorted({held.fault for held in done.held if held.fault})
        if reasons:
            raise ModelUnusable("; ".join(reasons))
        await self._until_noticed(done, loaded, until_s)

    async def _wish(self, model: str, loaded: bool, until_s: float) -> _Done:
        """Say what is wanted, and wait until it is over with, one way or the other, wherever the model is."""
        if not model:
            raise InvalidInput.of("model", "is required")
        check_model(model)
        number = await self._wanted.want(model, loaded=loaded)
        _LOG.info("model wanted", extra={"model": model, "loaded": loaded, "number": number})
        asked = {view.agent for view in await repository_views(self._membership)}
        holders: set[str] = set()
        while True:
            seen = await repository_views(self._membership)
            views = {view.agent: view for view in seen if view.agent in asked}
            if all(view.heard >= number for view in views.values()):
                held = {
                    agent: one for agent, view in views.items() for one in view.models if one.name == model
                }
                holders |= held.keys()
                if not holders:
                    await self._wanted.forget(model, number)
                    raise ModelNotFound(model, message=f"no model repository has a model {model}")
                if not held:
                    raise ModelNotReady(f"the agents that had model {model} are gone")
                if all(one.number < number or one.settled for one in held.values()):
                    return _Done(list(held.values()))
            await self._pause(until_s, loaded)

    async def _until_noticed(self, done: _Done, loaded: bool, until_s: float) -> None:
        """Wait until the directory shows the runners that serve now, and none that leave, as READY."""
        serving = {runner for held in done.held for runner in held.runners} if loaded else set()
        leaving = {runner for held in done.held for runner in held.leaving}
        while True:
            statuses = await runners(self._membership)
            present = {status.runner.id for status in statuses}
            ready = {
                status.runner.id for status in statuses if status.runner.state == models.RUNNER_STATE_READY
            }
            # One that died meanwhile is not waited for.
            if not ready & leaving and (serving & present) <= ready:
                break
            await self._pause(until_s, loaded)
        await self._noticed()

    async def _pause(self, until_s: float, loaded: bool) -> None:
        """Wait for the next look. Raises DeadlinePassed when there was time enough."""
        if self._clock.monotonic() >= until_s:
            said = "ready" if loaded else "unloaded"
            raise DeadlinePassed(f"the model is not {said} after {WITHIN_S:g} s; it goes on")
        await self._clock.sleep(LOOK_S)


def _joined(entries: Iterable[models.RepositoryEntry]) -> list[models.RepositoryEntry]:
    """Return one entry for each version, by name and version: what the agent says where it is furthest."""
    best: dict[tuple[str, int], models.RepositoryEntry] = {}
    for entry in entries:
        key = (entry.name, entry.version)
        known = best.get(key)
        if known is None or FURTHEST[entry.state] > FURTHEST[known.state]:
            best[key] = entry
    return [best[key] for key in sorted(best)]
