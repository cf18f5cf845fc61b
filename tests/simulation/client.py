"""Clients: they ask gateways for what the workload says, and remember what they were told."""

import asyncio
from random import Random
from typing import Any, Protocol

from forebay.queues.v1.queue_service_pb2 import PauseSelector
from forebay.tasks.v1 import task_pb2
from scheduler.errors import ForebayError, ServerUnavailable
from tests.simulation.gateways import Use
from tests.simulation.history import History
from tests.simulation.processes import StoreClock
from tests.simulation.workload import LABELS, Kind, Wish, timed

TRIES = 4
PAUSE_S = 0.3


class Door(Protocol):
    """How clients reach gateways."""

    async def ask(self, use: Use) -> Any:
        """Have one gateway do something; raises ServerUnavailable when that may not have been done."""
        ...


class Clients:
    """All clients of one world: they never die, and never lie about the time."""

    def __init__(self, door: Door, history: History, clock: StoreClock, rng: Random) -> None:
        self.accepted: dict[str, None] = {}
        """Tasks of which a Submit returned OK."""
        self.cancelled: set[str] = set()
        """Tasks of which a Cancel returned OK."""
        self.schedules: list[str] = []
        self._door = door
        self._history = history
        self._clock = clock
        self._rng = rng
        self._selectors: list[PauseSelector] = []
        self._answers: dict[str, str] = {}

    async def live(self, wishes: list[Wish]) -> None:
        """Do everything in time; returns when all is answered, or given up."""
        async with asyncio.TaskGroup() as group:
            for number, wish in enumerate(wishes):
                await asyncio.sleep(max(0.0, wish.at_s - self._clock.monotonic()))
                group.create_task(self._fulfil(number, wish))

    async def _fulfil(self, number: int, wish: Wish) -> None:
        known = list(self._history.lives)
        task_id = known[int(wish.pick * len(known))] if known else ""
        now_ms = self._clock.true_ms()
        match wish.kind:
            case Kind.SUBMIT | Kind.CONFLICT:
                await self._submit([timed(spec, now_ms) for spec in wish.specs])
            case Kind.TWINS:
                spec = timed(wish.specs[0], now_ms)
                async with asyncio.TaskGroup() as group:
                    for _ in range(2):
                        group.create_task(self._submit([spec]))
            case Kind.CHILD if task_id:
                spec = timed(wish.specs[0], now_ms)
                spec.depends_on.add(id=task_id)
                await self._submit([spec])
            case Kind.CANCEL if task_id:
                if await self._try(lambda gateway: gateway.cancel(task_id)):
                    self.cancelled.add(task_id)
            case Kind.CANCEL_COLOR:
                color = LABELS[int(wish.pick * len(LABELS))]
                self.cancelled.update(await self._try(lambda gateway: gateway.cancel_color(color)) or ())
            case Kind.UPDATE if task_id:
                not_before_ms = now_ms + wish.in_ms if wish.in_ms else 0
                deadline_ms = now_ms + wish.by_ms if wish.by_ms else 0
                await self._try(
                    lambda gateway: gateway.update(task_id, wish.level, not_before_ms, deadline_ms), tries=1
                )
            case Kind.PAUSE:
                await self._pause(wish)
            case Kind.SCHEDULE:
                name = f"every-{number}"
                spec = wish.specs[0]
                for field in ("not_before", "deadline"):
                    spec.ClearField(field)
                self.schedules.append(name)
                await self._try(lambda gateway: gateway.schedule(name, spec, wish.in_ms))
            case Kind.REPLAY:
                await self._try(lambda gateway: gateway.replay(wish.pick), tries=1)

    async def _submit(self, specs: list[task_pb2.TaskSpec]) -> None:
        """Submit once, or with keys until it is answered."""
        keyed = all(spec.idempotency_key for spec in specs)
        ids = await self._try(lambda gateway: gateway.submit(specs), tries=TRIES if keyed else 1)
        for spec, task_id in zip(specs, ids or (), strict=False):
            if not task_id:
                continue
            self.accepted[task_id] = None
            self._history.accepted(task_id)
            if spec.idempotency_key:
                before = self._answers.setdefault(spec.idempotency_key, task_id)
                if before != task_id:
                    self._history.breach(
                        task_id, f"key {spec.idempotency_key} was answered with {before} before"
                    )

    async def _pause(self, wish: Wish) -> None:
        kinds = (
            PauseSelector(pool="default"),
            PauseSelector(priority=1 + int(wish.pick * 97) % 4),  # type: ignore[arg-type]  # numbers of the contract
            PauseSelector(model="m"),
            PauseSelector(label_key="color", label_value=LABELS[0]),
        )
        selector = kinds[int(wish.pick * 4)]
        self._selectors.append(selector)
        await self._try(lambda gateway: gateway.pause(selector))
        await asyncio.sleep(wish.lasts_s)
        await self._until(lambda gateway: gateway.resume(selector))

    async def clear_away(self) -> None:
        """Delete what recurs and resume what is paused: a world must come to an end. What was asked for long ago may
        have come about only now.
        """
        for selector in self._selectors:
            await self._until(lambda gateway, selector=selector: gateway.resume(selector))  # type: ignore[misc]
        for name in self.schedules:
            await self._until(lambda gateway, name=name: gateway.unschedule(name))  # type: ignore[misc]

    async def _until(self, use: Use) -> None:
        while await self._try(use) is _UNANSWERED:
            pass

    async def _try(self, use: Use, tries: int = TRIES) -> Any:
        for _ in range(tries):
            try:
                return await self._door.ask(use)
            except ServerUnavailable:
                await asyncio.sleep(PAUSE_S * (0.5 + self._rng.random()))
            except ForebayError:
                # A refusal is an answer.
                return None
        return _UNANSWERED


_UNANSWERED: Any = ()
