"""What befalls the processes of a world: drawn from the seed, at moments of its choosing."""

import asyncio
from collections.abc import Callable
from random import Random

from tests.simulation.network import LOG, RECORDS
from tests.simulation.runners import SimulatedRunner
from tests.simulation.schedulers import SimulatedScheduler
from tests.simulation.world import Post, World

HOUR_MS = 3_600_000
NOTICED_S = 1.0
"""A cut from the log that lasts longer makes the broker take the lanes away."""


async def befall(world: World, span_s: float) -> None:
    """Do to the world what its weather says, within so many seconds."""
    weather, rng = world.weather, world.rng
    deeds: list[tuple[int, Callable[[World], None]]] = [
        (weather.kills, kill),
        (weather.stops, stop),
        (weather.freezes, freeze),
        (weather.cuts, cut),
        (weather.outages, outage),
        (weather.jumps, jump),
        (weather.resets, reset),
    ]
    plan = sorted(
        (
            (rng.random() * span_s, order, deed)
            for order, (times, deed) in enumerate(deeds)
            for _ in range(times)
        ),
        key=lambda item: item[:2],
    )
    for at_s, _, deed in plan:
        await asyncio.sleep(max(0.0, at_s - world.loop.time()))
        deed(world)


def heal(world: World) -> None:
    """End all trouble: everything runs, and reaches everything, from now on."""
    world.note("healed")
    world.healed = True
    world.network.healed()
    world.log.habits(0.0, 0.0)
    for post in world.posts:
        if post.process is not None:
            post.process.thaw()
        if isinstance(post.actor, SimulatedScheduler) and post.actor.consumer is not None:
            # An acknowledgement that was lost is made up for when the connection is made again.
            post.actor.consumer.lose()
            post.actor.consumer.find()


def kill(world: World) -> None:
    """SIGKILL one process."""
    if (post := _one(world)) is not None and post.process is not None:
        world.note("kill", post.process.name)
        post.process.kill()


def stop(world: World) -> None:
    """SIGTERM one process."""
    if (post := _one(world, 0.5)) is not None and post.actor is not None and post.process is not None:
        world.note("stop", post.process.name)
        post.process.soon(post.actor.stop.set)


def freeze(world: World) -> None:
    """SIGSTOP one process for a while."""
    if (post := _one(world, 0.5)) is not None and (process := post.process) is not None:
        seconds = world.rng.choice((0.3, 1.0, 4.0, 4.0)) * (0.5 + world.rng.random())
        world.note("freeze", process.name, seconds)
        process.freeze()
        world.loop.at(seconds, process.thaw)


def cut(world: World) -> None:
    """Keep one process from one server for a while."""
    if (post := _one(world, 0.3)) is None or post.process is None:
        return
    service = world.rng.choice((RECORDS, LOG))
    seconds = 0.2 + world.rng.random() * 5
    world.note("cut", post.process.name, service, seconds)
    world.network.cut(post.process.name, service, seconds)
    if service == LOG and seconds > NOTICED_S and isinstance(post.actor, SimulatedScheduler):
        consumer = post.actor.consumer
        if consumer is not None:
            world.loop.at(NOTICED_S, consumer.lose)
            world.loop.at(seconds, consumer.find)


def outage(world: World) -> None:
    """Let one server be away for a while."""
    service = world.rng.choice((RECORDS, LOG))
    seconds = 0.2 + world.rng.random() * 2
    world.note("outage", service, seconds)
    world.network.cut("", service, seconds)


def jump(world: World) -> None:
    """Set one process's wall clock."""
    if (post := _one(world)) is not None and post.process is not None:
        offset_ms = world.rng.choice((-HOUR_MS, -700, 700, HOUR_MS))
        world.note("jump", post.process.name, offset_ms)
        post.process.wall_offset_ms += offset_ms


def reset(world: World) -> None:
    """Break one connection between a runner and a scheduler."""
    streams = [stream for stream in world.switchboard.streams if stream.open]
    if streams:
        stream = world.rng.choice(streams)
        world.note("reset", stream.runner.name)
        stream.reset()


def _one(world: World, runners: float = 0.0) -> Post | None:
    """Choose whom it befalls: in that part of the cases a runner, else anybody."""
    if world.healed:
        return None
    rng: Random = world.rng
    living = [post for post in world.posts if post.process is not None and not post.process.stopped]
    if rng.random() < runners:
        living = [post for post in living if isinstance(post.actor, SimulatedRunner)]
    return rng.choice(living) if living else None
