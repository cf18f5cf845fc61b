"""How well the platform foretells when a task starts: what ExplainTask said, beside what came.

A mixed run: four levels, three tenants, two kinds of tasks of very different cost, a backlog at the beginning and more
coming in all the time. Of every fiftieth task it is asked when it was submitted, and again a few seconds later.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Final, NamedTuple

import numpy as np
import uvloop

from benchmarks import machine
from benchmarks.bars import at_least, at_most
from benchmarks.scheduling.tables import table
from forebay.client import AsyncClient, TaskHandle, TaskInfo, TaskState, task_spec
from forebay.client.explaining import Estimate
from forebay.tasks.v1.task_pb2 import TaskSpec
from services.api_keys import line_of, new_key
from tests.system import System, forebay_up
from tests.tiny_models import save_countdown

TENANTS: Final = ("anna", "boris", "clara")
LEVELS: Final = {"critical": 0.05, "high": 0.2, "normal": 0.5, "low": 0.25}
TURNS: Final = {"short": 4_000, "long": 30_000}
LONG: Final = 0.2
"""The part of the long tasks."""
TOGETHER: Final = 50
"""Tasks of one call. One of them is asked about."""
PAUSE_S: Final = 0.2
"""Between two calls, once the backlog is there."""
AGAIN_S: Final = 5.0
LEARNED: Final = 200
"""Tasks that run before, so that their costs are known."""
SHORTEST_S: Final = 0.5
"""Waits below are left out: what is relative to nearly nothing says nothing."""
BAR: Final = 0.25
WITHIN: Final = 0.8


class Asked(NamedTuple):
    """One answer."""

    task: str
    asked: datetime
    start: Estimate | None
    again: bool
    level: str


def draw(chance: Random) -> tuple[TaskSpec, str]:
    """Return a task, and its level."""
    kind = "long" if chance.random() < LONG else "short"
    [level] = chance.choices(list(LEVELS), list(LEVELS.values()))
    tensors = {"turns": np.array([TURNS[kind]], np.int64)}
    return task_spec("countdown", tensors=tensors, priority=level, labels={"kind": kind}), level


async def ask(client: AsyncClient, task: TaskHandle, level: str, after_s: float, found: list[Asked]) -> None:
    """Ask about a task after some seconds, unless it has started by then."""
    await asyncio.sleep(after_s)
    answer = await client.explain(task)
    if answer.task.state is TaskState.QUEUED:
        found.append(Asked(task.id, datetime.now(UTC), answer.start, after_s > 0, level))


async def run(system: System, keys: dict[str, str], options: argparse.Namespace) -> None:
    """Submit, ask, wait, print."""
    chance = Random(options.seed)
    found: list[Asked] = []
    ended: dict[str, TaskInfo] = {}
    clients = {tenant: AsyncClient(system.grpc, api_key=keys[tenant]) for tenant in TENANTS}
    for client in clients.values():
        await client.wait_many(
            await client.submit_many([draw(chance)[0] for _ in range(LEARNED // len(TENANTS))]), 60
        )
    # Rates are means over ten seconds: the first answers come when there are some.
    began = time.perf_counter()
    handles: dict[str, list[TaskHandle]] = {tenant: [] for tenant in TENANTS}
    async with asyncio.TaskGroup() as asking:
        for number in range(options.tasks // TOGETHER):
            tenant = TENANTS[number % len(TENANTS)]
            drawn = [draw(chance) for _ in range(TOGETHER)]
            tasks = await clients[tenant].submit_many([spec for spec, _ in drawn])
            handles[tenant] += tasks
            place = chance.randrange(TOGETHER)
            for after_s in (0.0, AGAIN_S):
                asking.create_task(ask(clients[tenant], tasks[place], drawn[place][1], after_s, found))
            if number * TOGETHER > options.tasks * options.backlog:
                await asyncio.sleep(PAUSE_S)
    for tenant, client in clients.items():
        await client.wait_many(handles[tenant], 600, include_result=False)
        mine = {handle.id for handle in handles[tenant]}
        for one in found:
            if one.task in mine:
                ended[one.task] = await client.get(one.task, include_result=False)
        await client.close()
    print(f"{options.tasks:,} tasks in {time.perf_counter() - began:.0f} s, {len(found)} answers\n")
    _print(found, ended)


def _print(found: Sequence[Asked], ended: dict[str, TaskInfo]) -> None:
    rows = []
    groups = {
        "at submit time": [one for one in found if not one.again],
        f"{AGAIN_S:.0f} s later": [one for one in found if one.again],
        **{level: [one for one in found if one.level == level] for level in LEVELS},
        "all": list(found),
    }
    for name, asked in groups.items():
        ratios, within, silent = _ratios(asked, ended)
        if not ratios:
            rows.append((name, str(len(asked)), str(silent), "0", *[""] * 5))
            continue
        middle, inside = median(abs(ratio - 1) for ratio in ratios), sum(within) / len(within)
        bars = (at_most(middle, BAR), at_least(inside, WITHIN)) if name == "all" else ("", "")
        rows.append(
            (
                *(name, str(len(asked)), str(silent), str(len(ratios)), f"{median(ratios):.2f}"),
                *(f"{middle:.0%}", bars[0], f"{inside:.0%}", bars[1]),
            )
        )
    head = (
        "asked",
        "answers",
        "no estimate",
        "counted",
        "expected/real",
        "median error",
        f"bar {BAR:.0%}",
        "in interval",
        "wanted 80%",
    )
    print(table(head, rows))


def _ratios(asked: Sequence[Asked], ended: dict[str, TaskInfo]) -> tuple[list[float], list[bool], int]:
    """Return expected waits over real ones, whether starts were within intervals, and how many had no estimate."""
    ratios: list[float] = []
    within: list[bool] = []
    silent = 0
    for one in asked:
        started = ended[one.task].start_time
        if one.start is None:
            silent += 1
        elif started is not None and (wait_s := (started - one.asked).total_seconds()) >= SHORTEST_S:
            ratios.append((one.start.time - one.asked).total_seconds() / wait_s)
            within.append(one.start.earliest <= started <= one.start.latest)
    return ratios, within, silent


def main() -> None:
    """Start a system, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument(
        "--backlog", type=float, default=0.4, help="the part that is there from the beginning"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    machine.print_header("when a task is expected to start, and when it did")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        keys = {who: new_key() for who in (*TENANTS, "operator")}
        file = folder / "keys"
        file.write_text(
            "".join(f"{line_of(key, who, operator=who == 'operator')}\n" for who, key in keys.items())
        )
        os.environ["FOREBAY_API_KEY"] = keys["operator"]
        models = {"countdown": save_countdown(folder / "countdown.onnx")}
        environment = {"FOREBAY_GATEWAY_API_KEYS_FILE": str(file), "FOREBAY_RUNNER_CREDITS": "4"}
        with forebay_up(folder / "data", models, environment=environment) as system:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run(system, keys, options))


if __name__ == "__main__":
    main()
