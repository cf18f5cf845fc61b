"""A soak: steady load with random kills, for as many minutes as are given. `make soak MINUTES=10`.

Workers submit batches of every kind of task in a closed loop, wait for them, and check each answer against what its
kind must come to; a killer ends one random process after the other with SIGKILL; a watcher measures memory and disk.
It prints what it counted, and ends with exit code 1 when anything was lost, doubled, wrong, or grew without bound.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from forebay.client import (
    AsyncClient,
    ForebayClientError,
    RetryPolicy,
    SubmitManyError,
    TaskHandle,
    TaskInfo,
    TaskState,
    task_spec,
)
from forebay.tasks.v1.task_pb2 import TaskSpec
from services.cli.up.child import DEATHS_ALLOWED
from services.cli.up.supervisor import DEATHS_WITHIN_S
from tests.system import System, forebay_up
from tests.tiny_models import save_add, save_countdown, save_picky

WORKERS: Final = 6
BATCH: Final = 40
WAIT_S: Final = 120.0
KEPT_S: Final = 30
LOG_LIMIT_MB: Final = 4
MEASURE_S: Final = 5.0
SETTINGS: Final = {
    "FOREBAY_SCHEDULER_LEASE_MS": "3000",
    "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "2000",
    "FOREBAY_RETENTION_RECORD_S": str(KEPT_S),
    "FOREBAY_RETENTION_KEY_S": str(KEPT_S),
    "FOREBAY_RETENTION_DEAD_LETTER_S": str(KEPT_S),
    "FOREBAY_UP_LOG_LIMIT_MB": str(LOG_LIMIT_MB),
}
MORTALS: Final = ("gateway", "scheduler", "valkey", "pulsar-lite", "add", "countdown", "picky")
"""What is killed: children of `up`, and runners by their models."""
MANY: Final = 50
"""Attempts of tasks that must succeed whatever is killed."""


@dataclass
class Tally:
    """Everything that was counted, and every breach."""

    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    """Submits of a task that was accepted already: each must name the same one."""
    refused: Counter[str] = field(default_factory=Counter)
    """Submits that were answered with an error, by reason; they were tried again."""
    kills: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    memory_mb: dict[str, list[float]] = field(default_factory=dict)
    disk_mb: list[float] = field(default_factory=list)
    exchanges: int = 0
    """How often the log went on in a fresh folder."""
    breaches: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Job:
    """One task and what it must come to."""

    spec: TaskSpec
    ends_as: TaskState
    answer: list[Any] | None = None


def jobs(run: str, number: int, chance: random.Random) -> list[Job]:
    """Make a batch: mostly plain tasks, and some of every other kind."""

    def labelled(kind: str, **options: Any) -> dict[str, Any]:
        place = f"{run}-{number}-{len(made)}"
        return {"idempotency_key": place, "labels": {"run": run, "kind": kind}, **options}

    made: list[Job] = []
    while len(made) < BATCH:
        value = chance.randrange(1000)
        x = {"x": np.full((1, 4), value, np.float32)}
        doubled = [[2.0 * value] * 4]
        match chance.choices(range(5), (30, 3, 2, 2, 2))[0]:
            case 0:
                level = chance.choice(("critical", "high", "normal", "low"))
                spec = task_spec("add", tensors=x, max_attempts=MANY, priority=level, **labelled("plain"))
                made.append(Job(spec, TaskState.SUCCEEDED, doubled))
            case 1:
                soon = timedelta(milliseconds=chance.randrange(2000))
                spec = task_spec("add", tensors=x, max_attempts=MANY, not_before=soon, **labelled("delayed"))
                made.append(Job(spec, TaskState.SUCCEEDED, doubled))
            case 2:
                wrong = {"place": np.array([9])}
                quick = timedelta(milliseconds=50)
                spec = task_spec(
                    "picky", tensors=wrong, max_attempts=2, initial_backoff=quick, **labelled("failing")
                )
                made.append(Job(spec, TaskState.FAILED))
            case 3:
                parent = task_spec("add", tensors=x, max_attempts=MANY, **labelled("parent"))
                made.append(Job(parent, TaskState.SUCCEEDED, doubled))
                child = task_spec(
                    "add",
                    tensors={},
                    max_attempts=MANY,
                    depends_on=[len(made) - 1],
                    inputs_from={"x": (0, "y")},
                    **labelled("child"),
                )
                made.append(Job(child, TaskState.SUCCEEDED, [[4.0 * value] * 4]))
            case _:
                turns = chance.randrange(1000, 60_000)
                spec = task_spec(
                    "countdown", tensors={"turns": np.array([turns])}, max_attempts=MANY, **labelled("slow")
                )
                made.append(Job(spec, TaskState.SUCCEEDED, [turns]))
    return made


class Soak:
    """One run."""

    def __init__(self, system: System, client: AsyncClient, seed: int, minutes: float) -> None:
        self._system = system
        self._client = client
        self._chance = random.Random(seed)
        self._run = f"soak-{seed}"
        self._end_s = time.monotonic() + minutes * 60
        self._numbers = 0
        self._deaths: dict[str, list[float]] = {}
        self.tally = Tally()

    async def run(self) -> Tally:
        """Load, kill and measure until the time is over; then wait for what is left and look for leftovers."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            group.create_task(self._kill())
            group.create_task(self._measure())
        await self._look_for_leftovers()
        self._look_for_growth()
        self.tally.exchanges = sum("going on with a fresh one" in line for line in self._system.lines)
        return self.tally

    @property
    def _over(self) -> bool:
        if self._system.process.poll() is not None:
            raise AssertionError("the system ended by itself:\n" + "\n".join(self._system.lines[-20:]))
        return time.monotonic() >= self._end_s

    async def _work(self) -> None:
        while not self._over:
            self._numbers += 1
            batch = jobs(self._run, self._numbers, self._chance)
            handles = await self._submit([job.spec for job in batch])
            self.tally.accepted += len(handles)
            if self._chance.random() < 0.1:
                again = await self._submit([job.spec for job in batch])
                self.tally.repeated += len(again)
                if [task.id for task in again] != [task.id for task in handles]:
                    self.tally.breaches.append("the same keys made other tasks")
            try:
                ended = await self._client.wait_many(handles, WAIT_S)
            except ForebayClientError as error:
                self.tally.breaches.append(f"a batch did not end within {WAIT_S:.0f} s: {error}")
                continue
            for job, task in zip(batch, ended, strict=True):
                self._check(job, task)

    async def _submit(self, specs: Sequence[TaskSpec]) -> list[TaskHandle]:
        """Submit until everything is accepted, as a careful client does."""
        while True:
            try:
                return list(await self._client.submit_many(specs))
            except SubmitManyError as error:
                errors = [result for result in error.results if isinstance(result, ForebayClientError)]
            except ForebayClientError as error:
                errors = [error]
            self.tally.refused.update(error.reason or error.code.name for error in errors)
            await asyncio.sleep(errors[0].retry_after_s or 0.2)

    def _check(self, job: Job, task: TaskInfo) -> None:
        self.tally.states[task.state.value] += 1
        self.tally.attempts[task.attempt] += 1
        if task.state is not job.ends_as:
            self.tally.breaches.append(
                f"{task.id} is {task.state.value}, not {job.ends_as.value}: {task.error}"
            )
        elif job.answer is not None:
            [output] = task.tensors.values()
            if output.tolist() != job.answer:
                self.tally.breaches.append(f"{task.id} has another answer")

    async def _kill(self) -> None:
        while not self._over:
            await asyncio.sleep(self._chance.uniform(3.0, 9.0))
            name = self._chance.choice(MORTALS)
            if not self._may_die(name):
                continue
            try:
                if name in ("add", "countdown", "picky"):
                    os.kill(self._system.runner(name).pid, signal.SIGKILL)
                else:
                    printed = self._system.kill(name)
                    await asyncio.to_thread(
                        self._system.wait_line, rf"^{name} +ready after", 60, after=printed
                    )
            except (AssertionError, ProcessLookupError, psutil.NoSuchProcess):
                # A runner that is just being started again cannot be killed.
                continue
            self.tally.kills[name] += 1

    def _may_die(self, name: str) -> bool:
        """Whether one more death of it is an accident, and not the reason for which `up` gives up a child."""
        now = time.monotonic()
        lately = [at for at in self._deaths.get(name, []) if now - at < DEATHS_WITHIN_S + 5]
        if len(lately) >= DEATHS_ALLOWED - 1:
            return False
        self._deaths[name] = [*lately, now]
        return True

    async def _measure(self) -> None:
        while not self._over:
            for process in self._system.children():
                try:
                    name = _name(process)
                    rss = process.memory_info().rss / 2**20
                except psutil.Error:
                    continue
                self.tally.memory_mb.setdefault(name, []).append(rss)
            self.tally.disk_mb.append(await asyncio.to_thread(_size_mb, self._system.data))
            await asyncio.sleep(MEASURE_S)

    async def _look_for_leftovers(self) -> None:
        left = [
            info.id
            async for info in self._client.list(
                states=("scheduled", "blocked", "queued", "running", "retrying")
            )
        ]
        if left:
            self.tally.breaches.append(f"{len(left)} tasks never ended, for example {left[0]}")
        for queue in await self._client.queues():
            if queue.depth or queue.running or queue.waiting:
                self.tally.breaches.append(f"counters say that {queue} still has tasks")

    def _look_for_growth(self) -> None:
        for name, sizes in self.tally.memory_mb.items():
            third = len(sizes) // 3
            if third and max(sizes[-third:]) > 1.5 * max(sizes[:third]) + 48:
                self.tally.breaches.append(
                    f"{name} grew from {max(sizes[:third]):.0f} to {max(sizes[-third:]):.0f} MB"
                )
        # Two logs stand side by side for a moment; the record store's file is rewritten at twice its size.
        if max(self.tally.disk_mb, default=0) > 4 * LOG_LIMIT_MB + 256:
            self.tally.breaches.append(f"the data folder grew to {max(self.tally.disk_mb):.0f} MB")


def _name(process: psutil.Process) -> str:
    model = process.environ().get("FOREBAY_RUNNER_MODEL")
    if model:
        return f"runner {model}"
    command = " ".join(process.cmdline())
    for needle in (
        "services.gateway",
        "scheduler.service",
        "inference.agent",
        "valkey",
        "pulsar-lite",
        "pulsar_lite",
    ):
        if needle in command:
            return needle
    return process.name()


def _size_mb(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            # It went while it was looked at.
            continue
    return total / 2**20


def report(tally: Tally, seed: int, minutes: float) -> None:
    """Print what was counted."""
    show = sys.stdout.write
    show(f"seed {seed}, {minutes:g} minutes\n")
    show(f"accepted          {tally.accepted}\n")
    show(f"ended             {dict(tally.states)}\n")
    show(f"attempts          {dict(sorted(tally.attempts.items()))}\n")
    show(f"duplicates        {tally.repeated} submitted again, none of them a second task\n")
    show(f"refused, retried  {dict(tally.refused)}\n")
    show(f"kills             {sum(tally.kills.values())}: {dict(tally.kills)}\n")
    for name, sizes in sorted(tally.memory_mb.items()):
        third = max(1, len(sizes) // 3)
        show(
            f"memory            {name:<20} {max(sizes[:third]):7.0f} MB early {max(sizes[-third:]):7.0f} MB late\n"
        )
    if tally.disk_mb:
        show(
            f"disk              {max(tally.disk_mb):.0f} MB at most, {tally.disk_mb[-1]:.0f} MB at the end; "
            f"{tally.exchanges} times a fresh log\n"
        )
    for breach in tally.breaches[:20]:
        show(f"BREACH            {breach}\n")
    show("held\n" if not tally.breaches else f"{len(tally.breaches)} breaches\n")


async def soak(seed: int, minutes: float) -> Tally:
    """Run a system of its own for so many minutes and return what was counted."""
    with tempfile.TemporaryDirectory(prefix="fb-soak-") as folder:
        root = Path(folder)
        models = {
            "add": save_add(root / "add.onnx"),
            "countdown": save_countdown(root / "countdown.onnx"),
            "picky": save_picky(root / "picky.onnx"),
        }
        with forebay_up(root / "data", models, environment=SETTINGS) as system:
            retry = RetryPolicy(attempts=20, reconnect_s=60.0)
            async with AsyncClient(system.grpc, retry=retry, timeout_s=60.0) as client:
                return await Soak(system, client, seed, minutes).run()


def main() -> int:
    """Run from the command line; the exit code is 1 on any breach."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    tally = asyncio.run(soak(seed, given.minutes))
    report(tally, seed, given.minutes)
    return 1 if tally.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
