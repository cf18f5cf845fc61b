"""Follows the runners through the gateway and says what becomes of each model: loading, warming, ready, failed."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio

from forebay.models.v1 import model_service_pb2 as models
from forebay.models.v1.model_service_pb2_grpc import ModelServiceStub
from forebay.runner.v1.runner_service_pb2 import WatchStatusRequest
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from services.cli.up.supervisor import Say

if TYPE_CHECKING:
    from forebay.models.v1.model_service_pb2_grpc import ModelServiceAsyncStub

STARTING_PAUSE_S: Final = 0.2
"""Between two looks while models load."""
RUNNING_PAUSE_S: Final = 2.0
"""Between two looks afterwards."""
ASK_S: Final = 5.0
RUNNERS_LOST: Final = 3
"""This many runners of a model that went before they were ready are enough to stop waiting for it."""
NO_RUNNER_S: Final = 60.0
"""A model without any runner for so long is not waited for either."""
ACTIVITY_S: Final = 600.0
"""Longest time that one runner's activity is followed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was last seen of a model, over all its runners."""

    state: models.RunnerState.ValueType
    text: str


class Fleet:
    """One watch over the models that this `up` was asked to serve."""

    def __init__(self, gateway: str, wanted: Iterable[str], say: Say, key: str = "") -> None:
        """Take the gateway's address, the names of the models, the way to tell a person things, and an API key."""
        self._metadata = (("x-api-key", key),) if key else ()
        self._gateway = gateway
        self._wanted = tuple(dict.fromkeys(wanted))
        self._seen: dict[str, Seen | None] = dict.fromkeys(self._wanted)
        self._why: dict[str, str] = {}
        """Why models cannot be served, as told; kept until they are ready."""
        self._busy: set[str] = set()
        """Models of which some versions are still loaded."""
        self._followed: set[str] = set()
        self._tried: dict[str, set[str]] = {name: set() for name in self._seen}
        self._last_runner_s = dict.fromkeys(self._seen, time.monotonic())
        self._say = say

    @property
    def failed(self) -> list[str]:
        """Models that are not ready."""
        return [
            n for n, seen in self._seen.items() if seen is None or seen.state != models.RUNNER_STATE_READY
        ]

    def shortfall(self) -> str:
        """Say which of the wanted models cannot be served; "" when all can."""
        missing = [name for name in self._wanted if name in self.failed]
        if not missing:
            return ""
        count, plural = len(self._wanted), "s" * (len(self._wanted) > 1)
        return f"{len(missing)} of {count} model{plural} cannot be served: {', '.join(missing)}"

    async def settled(self) -> None:
        """Return when every wanted model is ready or failed, telling what happens until then."""
        async with grpc.aio.insecure_channel(self._gateway) as channel, asyncio.TaskGroup() as group:
            stub = ModelServiceStub(channel)
            followers: list[asyncio.Task[None]] = []
            while not self._is_settled():
                looked = await self._look(stub)
                await self._look_at_versions(stub)
                for runner in looked:
                    if runner.address and runner.state in _BUSY and runner.id not in self._followed:
                        self._followed.add(runner.id)
                        followers.append(group.create_task(self._follow(runner.model, runner.address)))
                if not self._is_settled():
                    await asyncio.sleep(STARTING_PAUSE_S)
            for follower in followers:
                follower.cancel()
        for name, seen in self._seen.items():
            if seen is None or seen.state not in _SETTLED:
                self._say(
                    name, "cannot be served yet: its runners die or do not appear; logs/agent.log says why"
                )

    async def watched(self) -> None:
        """Tell of every change from now on. Endless: cancel it."""
        async with grpc.aio.insecure_channel(self._gateway) as channel:
            stub = ModelServiceStub(channel)
            while True:
                await asyncio.sleep(RUNNING_PAUSE_S)
                await self._look(stub)

    def _is_settled(self) -> bool:
        return all(
            (seen is not None and seen.state in _SETTLED and name not in self._busy) or self._hopeless(name)
            for name, seen in self._seen.items()
        )

    def _hopeless(self, name: str) -> bool:
        """Whether a model's runners keep dying, or never appear; the agent goes on trying."""
        return (
            len(self._tried.get(name, ())) > RUNNERS_LOST
            or time.monotonic() - self._last_runner_s.get(name, 0.0) > NO_RUNNER_S
        )

    async def _look(self, stub: "ModelServiceAsyncStub") -> list[models.Runner]:
        """Ask for all runners and tell what changed. A gateway that does not answer changes nothing."""
        try:
            answer = await stub.ListRunners(
                models.ListRunnersRequest(), timeout=ASK_S, metadata=self._metadata
            )
        except grpc.aio.AioRpcError:
            return []
        best: dict[str, models.Runner] = {}
        for runner in answer.runners:
            self._tried.setdefault(runner.model, set()).add(runner.id)
            self._last_runner_s[runner.model] = time.monotonic()
            known = best.get(runner.model)
            if known is None or _RANK[runner.state] > _RANK[known.state]:
                best[runner.model] = runner
        for name in sorted({*self._seen, *best}):
            self._note(name, best.get(name))
        return list(answer.runners)

    async def _look_at_versions(self, stub: "ModelServiceAsyncStub") -> None:
        """Find out which models have versions that are still loaded, beside those that are ready."""
        request = models.ListRepositoryRequest()
        try:
            answer = await stub.ListRepository(request, timeout=ASK_S, metadata=self._metadata)
        except grpc.aio.AioRpcError:
            return
        self._busy = {entry.name for entry in answer.entries if entry.state in _BUSY}

    def _note(self, name: str, runner: models.Runner | None) -> None:
        before = self._seen.get(name)
        if runner is None:
            # Before its first runner shows up there is nothing to tell.
            if before is not None and before.state == models.RUNNER_STATE_READY:
                self._say(name, "has no runner any more")
                self._seen[name] = Seen(models.RUNNER_STATE_UNSPECIFIED, "")
            return
        text = describe(runner)
        if before is None or (before.state, before.text) != (runner.state, text):
            self._seen[name] = Seen(runner.state, text)
            self._tell(name, runner.state, text)

    def _tell(self, name: str, state: models.RunnerState.ValueType, text: str) -> None:
        """Tell how far a model is; of one that failed, the next tries are told only when they bring something new."""
        if state == models.RUNNER_STATE_READY:
            self._why.pop(name, None)
        elif name in self._why and (state != models.RUNNER_STATE_FAILED or self._why[name] == text):
            return
        if state == models.RUNNER_STATE_FAILED:
            self._why[name] = text
        self._say(name, text)

    async def _follow(self, name: str, address: str) -> None:
        """Tell what one runner is busy with until it is not any more."""
        told = ""
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                async for status in RunnerServiceStub(channel).WatchStatus(
                    WatchStatusRequest(), timeout=ACTIVITY_S
                ):
                    if status.runner.state not in _BUSY:
                        return
                    if status.activity and status.activity != told:
                        told = status.activity
                        self._say(name, told)
            except grpc.aio.AioRpcError:
                return


def describe(runner: models.Runner) -> str:
    """Say in words how far a runner is."""
    match runner.state:
        case models.RUNNER_STATE_LOADING:
            return f"loading, pid {runner.pid}"
        case models.RUNNER_STATE_WARMING:
            return "warming up"
        case models.RUNNER_STATE_READY:
            loaded = runner.load_duration.ToNanoseconds() / 1e9
            return f"ready on {runner.provider}, {runner.capacity} at once, loaded in {loaded:.1f} s"
        case models.RUNNER_STATE_DRAINING:
            return "finishing what it holds"
        case models.RUNNER_STATE_FAILED:
            return f"cannot be served: {runner.reason}"
    return "starting"


_BUSY: Final = frozenset({models.RUNNER_STATE_LOADING, models.RUNNER_STATE_WARMING})
_SETTLED: Final = frozenset({models.RUNNER_STATE_READY, models.RUNNER_STATE_FAILED})
# Of several runners of a model, the one that is furthest speaks for it.
_RANK: Final[dict[int, int]] = {
    models.RUNNER_STATE_UNSPECIFIED: 0,
    models.RUNNER_STATE_DRAINING: 1,
    models.RUNNER_STATE_FAILED: 2,
    models.RUNNER_STATE_LOADING: 3,
    models.RUNNER_STATE_WARMING: 4,
    models.RUNNER_STATE_READY: 5,
}
