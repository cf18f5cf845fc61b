"""How fast the runners of a model work, how long a task stays with one, and what goes on coming in. Pure."""

from collections.abc import Sequence
from typing import Final

from scheduler.ports.lines import Line
from scheduler.states import Level
from services.gateway.fleet_view import Cost, ModelKnown, PoolKnown

FULL_SPEED: Final = 1000.0
"""Work that one busy runner does in a second, in milliseconds of one runner."""
TRUSTED: Final = 4.0
"""Starts in ten seconds by which the rate that was seen weighs as much as the one that runners can have."""
_SECONDS_SEEN: Final = 10.0
_HELD_UP: Final = 64
"""So many more tasks than are in the window wait on lanes that are not read for the moment."""


def work_rate(model: ModelKnown) -> float:
    """Return the work that runners of a model do per second when there is enough, in milliseconds of one runner: what
    was seen, as far as enough was seen, and never more than they can.
    """
    most = FULL_SPEED * max(0, model.runners - model.broken)
    if model.work_rate <= 0:
        return most
    seen = model.start_rate * _SECONDS_SEEN
    trust = seen / (seen + TRUSTED)
    return min(most, trust * model.work_rate + (1 - trust) * most)


def stay_ms(level: Level, model: str, pool: PoolKnown, cost: Cost) -> float:
    """Return how long a task is with its runner: while it executes, and before that while its runner is busy with what
    it holds already of the task's level and of higher ones.
    """
    known = pool.models.get(model)
    rate = work_rate(known) if known else 0.0
    if known is None or rate <= 0:
        return cost.execute_ms
    held = work_ms = 0.0
    for (of, tenant), tasks in known.uses.items():
        if of <= level:
            held += tasks
            work_ms += tasks * pool.cost(model, tenant, of).work_ms
    waits = max(0.0, held - known.slots)
    return cost.execute_ms + (1000 * work_ms * waits / held / rate if waits else 0.0)


def arriving(
    name: str, model: str, lines: Sequence[Line], pool: PoolKnown
) -> tuple[dict[Level, float], dict[Level, float]]:
    """Return the work that goes on coming in for a model of the pool of that name, per second at each level; and what
    the last second brought beyond that.
    """
    steadily, bursts = {}, {}
    for level, flow in pool.flows.items():
        of_level = [line for line in lines if line.level is level and line.pool == name]
        there = sum(line.queued + line.running for line in of_level)
        mine = [line for line in of_level if line.model == model]
        queued = sum(line.queued for line in of_level)
        # Into a full window as many come as leave it, and that says nothing of what comes in behind it.
        if not mine or not there or queued > flow.in_window + _HELD_UP:
            continue
        work_ms = sum(
            (line.queued + line.running) * pool.cost(model, line.tenant, level).work_ms for line in mine
        )
        # Of what arrives the model has the part that it has of what is there.
        steadily[level] = flow.steady * work_ms / there
        bursts[level] = flow.burst * work_ms / there
    return steadily, bursts
