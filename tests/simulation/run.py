"""Runs the world of one seed from its beginning until it has come to rest."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from unittest import mock

import grpc.aio

from inference.runner import attachment
from tests.simulation import faults
from tests.simulation.determinism import determined
from tests.simulation.network import LATEST_S, RECORDS, TIMEOUT_S
from tests.simulation.processes import current_wall_ms
from tests.simulation.streams import Channel, stub_of
from tests.simulation.verdict import judge, restless
from tests.simulation.virtual_time import Condemned, Stalled, VirtualLoop
from tests.simulation.weather import draw_weather
from tests.simulation.workload import Author
from tests.simulation.world import World

REST_S: Final = 60.0
"""Virtual seconds within which a healed world must come to rest."""
LOOK_EVERY_S: Final = 0.25

Sabotage = Callable[[World], AbstractContextManager[object]]
"""Breaks something in a world for as long as it lasts."""


@dataclass(slots=True)
class Outcome:
    """What became of the world of one seed."""

    seed: int
    faults: list[str] = field(default_factory=list)
    tasks: int = 0
    virtual_s: float = 0.0
    steps: int = 0
    trace: list[tuple[Any, ...]] = field(default_factory=list)

    def digest(self) -> str:
        """Return a digest of the trace: equal for equal runs."""
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()


def run_seed(seed: int, sabotage: Sabotage | None = None, *, calls: bool = False) -> Outcome:
    """Run one world. It is the same one each time, in a process whose hashes are fixed. `calls` puts every call of a
    server into the trace.
    """
    outcome = Outcome(seed)
    loop = VirtualLoop()
    rng = Random(seed)
    weather = draw_weather(rng)

    def note(*what: Any) -> None:
        outcome.trace.append((round(loop.time(), 6), *what))

    with ExitStack() as stack:
        stack.enter_context(determined(seed, loop, lambda: current_wall_ms(loop)))
        world = World(loop, rng, weather, runners=3 if weather.calm else rng.randint(1, 3), note=note)
        stack.enter_context(mock.patch.object(attachment, "DispatchServiceStub", stub_of(world.switchboard)))
        stack.enter_context(
            mock.patch.object(grpc.aio, "insecure_channel", lambda address, options=(): Channel(address))
        )
        if calls:
            world.network.tell = lambda how, call, answer: note(
                "  call", call.caller.name, call.method, shown(call.args), "->", shown(answer), how
            )
        if sabotage is not None:
            stack.enter_context(sabotage(world))
        loop.set_exception_handler(lambda _, context: _surprise(world, context))
        asyncio.set_event_loop(None)
        try:
            loop.run_until_complete(_live(world))
        except Condemned:
            outcome.faults += world.history.breaches
        except Stalled as error:
            outcome.faults = [*judge(world), str(error)]
        else:
            outcome.faults = judge(world)
        outcome.tasks = len(world.history.lives)
        outcome.virtual_s = loop.time()
        outcome.steps = loop.steps
        loop.close()
        for task in loop.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # the dead leave tasks behind
        loop.tasks.clear()
    return outcome


async def _live(world: World) -> None:
    rng = world.rng
    span_s = 3.0 + 4.0 * rng.random()
    wishes = Author(rng, world.weather.calm).write(rng.randint(3, 12), span_s)
    for post in world.posts:
        world.start(post)
    async with asyncio.TaskGroup() as group:
        group.create_task(world.clients.live(wishes))
        group.create_task(faults.befall(world, span_s))
        if world.weather.calm and rng.random() < 0.5:
            group.create_task(_one_death(world, span_s))
    faults.heal(world)
    await asyncio.sleep(LATEST_S + TIMEOUT_S[RECORDS])
    await world.clients.clear_away()
    end_s = world.loop.time() + REST_S
    while world.loop.time() < end_s and restless(world):  # noqa: ASYNC110  # time only passes while it sleeps
        await asyncio.sleep(LOOK_EVERY_S)


async def _one_death(world: World, span_s: float) -> None:
    """What calm worlds are for: one runner dies, and others have room."""
    await asyncio.sleep(span_s * world.rng.random())
    post = world.posts[-1]
    if post.process is not None:
        world.note("kill", post.process.name)
        post.process.kill()


def _surprise(world: World, context: dict[str, Any]) -> None:
    error = context.get("exception")
    world.note("surprise", context.get("message"), repr(error))
    world.history.breach("loop", f"{context.get('message')}: {error!r}")


def shown(value: object) -> str:
    """Return a value in few words."""
    text = re.sub(r"b'(?:[^'\\\\]|\\\\.)*'|b\"[^\"]*\"", "b…", repr(value))
    return text if len(text) < 300 else text[:300] + "…"
