"""Shares of the four levels on the running system, beside those that the simulator gives for the same tasks.

All levels have more than can be done, of tasks of two kinds, and one runner works. What counts is work, in turns of a
model that loops as often as it is told; how long a turn takes is of no interest then.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.bars import at_most
from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.jobs import End
from benchmarks.scheduling.scheduled import scheduled
from benchmarks.scheduling.simulator import simulate
from benchmarks.scheduling.tables import table
from benchmarks.scheduling.traces import Arrival
from forebay.client import Client, Priority, TaskHandle, TaskState, task_spec
from scheduler.policies.level_modes import level_share
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.states import Level
from tests.system import forebay_up
from tests.tiny_models import save_countdown

TURNS: Final = {"short": 3_000, "long": 12_000}
KIND_OF_LEVEL: Final = {Level.CRITICAL: 0.3, Level.HIGH: 0.5, Level.NORMAL: 0.7, Level.LOW: 0.5}
"""The part of the long tasks, by level."""
PER_S: Final = {Level.CRITICAL: 260, Level.HIGH: 60, Level.NORMAL: 15, Level.LOW: 6}
"""Tasks that are there for each second of the run: more than a fast machine does."""
AHEAD: Final = 2
"""What the runner takes at a time."""
BAR: Final = 0.10
ENDLESS: Final = 1 << 60


class Work(NamedTuple):
    """One task."""

    level: Level
    kind: str


def mix(seconds: float, chance: Random) -> list[Work]:
    """Return the tasks, the levels mixed as they come."""
    works = [
        Work(level, "long" if chance.random() < KIND_OF_LEVEL[level] else "short")
        for level, count in PER_S.items()
        for _ in range(int(count * seconds))
    ]
    chance.shuffle(works)
    return works


def measured(address: str, works: Sequence[Work], seconds: float) -> dict[Level, int]:
    """Return the turns that each level got from a running system in so many seconds."""
    specs = [
        task_spec(
            "countdown",
            tensors={"turns": np.array([TURNS[work.kind]], np.int64)},
            priority=work.level.label,
            labels={"kind": work.kind, "flood": "yes"},
        )
        for work in works
    ]
    with Client(address, timeout_s=120) as client:
        [gate] = client.submit_many(
            [
                task_spec(
                    "countdown", tensors={"turns": np.array([ENDLESS], np.int64)}, priority=Priority.CRITICAL
                )
            ]
        )
        until_running(client, gate)
        tasks = client.submit_many(specs)
        client.cancel(gate)
        time.sleep(seconds)
        client.cancel_matching(labels={"flood": "yes"})
        ended = client.wait_many(tasks, 60, include_result=False)
    ends = {
        number: task.end_time
        for number, task in enumerate(ended)
        if task.state is TaskState.SUCCEEDED and task.end_time is not None
    }
    last = cut(ends.values(), seconds)
    turns: Counter[Level] = Counter()
    for number, end in ends.items():
        if end <= last:
            turns[works[number].level] += TURNS[works[number].kind]
    return dict(turns)


def until_running(client: Client, task: TaskHandle) -> None:
    """Return when a task runs."""
    for update in client.watch([task], timeout_s=60):
        if update.state is TaskState.RUNNING:
            return


def cut(ends: Iterable[datetime], seconds: float) -> datetime:
    """Return the end of what counts: when everybody still had something waiting."""
    found = sorted(ends)
    return min(found[0] + timedelta(seconds=seconds), found[-1])


def simulated(works: Sequence[Work], turns: int) -> dict[Level, int]:
    """Return the turns that each level gets in the simulator until as many are done."""
    rows = [Arrival(0.0, "a", work.level, "countdown", TURNS[work.kind] / 1000, work.kind) for work in works]
    fleet = (RunnerSpec("one", "countdown", ahead=AHEAD - 1),)
    run = simulate(rows, fleet, scheduled(DEFAULT_POLICY), until_ms=turns / 1000)
    got: Counter[Level] = Counter()
    for job, work in zip(run.jobs, works, strict=True):
        if job.end is End.DONE and job.end_ms <= turns / 1000:
            got[work.level] += TURNS[work.kind]
    return dict(got)


def main() -> None:
    """Start a system, measure, simulate, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    machine.print_header("shares of levels, measured and simulated")
    works = mix(options.seconds, Random(options.seed))
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        models = {"countdown": save_countdown(folder / "countdown.onnx")}
        environment = {"FOREBAY_RUNNER_CREDITS": str(AHEAD)}
        with forebay_up(folder / "data", models, environment=environment) as system:
            real = measured(system.grpc, works, options.seconds)
    whole = sum(real.values())
    model = simulated(works, whole)
    print(f"\n{len(works):,} tasks offered, {whole / 1e6:.1f} million turns done\n")
    rows = []
    for level in Level:
        share = real.get(level, 0) / whole
        other = model.get(level, 0) / sum(model.values())
        off = abs(share / other - 1) if other else float("inf")
        wanted = level_share(DEFAULT_POLICY, level)
        cells = (f"{wanted:.2%}", f"{other:.2%}", f"{share:.2%}", f"{off:.1%}", at_most(off, BAR))
        rows.append((level.label, *cells))
    print(table(("level", "by weight", "simulated", "measured", "apart", f"bar {BAR:.0%}"), rows))


if __name__ == "__main__":
    main()
