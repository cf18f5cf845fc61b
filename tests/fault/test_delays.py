"""Delayed tasks while the scheduler that should start them dies: none early, none lost, and few of them late."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskState
from tests.fault.conftest import SCALE
from tests.fault.history import RUN_LABEL, watched
from tests.fault.kinds import LIMIT_S, add, nothing_is_left
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 60 * SCALE)]

TASKS = 1000
FIRST_S, LAST_S = 1.0, 7.0
LATE_S = 1.0
"""What a start may be late when there is a scheduler and nothing to do."""
SETTINGS = {"FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1500"}
"""What the dead one had not put on the log is put there after this age."""
HAND_OVER_S = 5.0
"""How long the restarted scheduler may need, on top of its start, until no due task waits: that age among it."""


def percentile(values: list[float], part: float) -> float:
    """Return the value that such a part of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


async def test_delayed_tasks_whose_scheduler_is_killed_half_way_start_on_time_and_once(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    with forebay_up(data, {"add": models["add"]}, environment=SETTINGS) as system:
        async with AsyncClient(system.grpc) as client:
            for number in range(SCALE):
                await one_round(system, client, f"delays-{number}", chance)
            await nothing_is_left(client)


async def one_round(system: System, client: AsyncClient, run: str, chance: random.Random) -> None:
    began = datetime.now(UTC)
    due = [
        began + timedelta(milliseconds=chance.randrange(int(FIRST_S * 1000), int(LAST_S * 1000)))
        for _ in range(TASKS)
    ]
    async with watched(client, run) as history:
        handles = await client.submit_many(
            [
                add(number, not_before=when, labels={RUN_LABEL: run}, idempotency_key=f"{run}-{number}")
                for number, when in enumerate(due)
            ]
        )
        for number, handle in enumerate(handles):
            history.accept(f"{run}-{number}", handle)
        await history.until_ended(TASKS // 2)
        killed = datetime.now(UTC)
        printed = system.kill("scheduler")
        assert history.ended < TASKS
        await asyncio.to_thread(system.wait_line, r"^scheduler +ready after", 30, after=printed)
        back = datetime.now(UTC)
        await client.wait_many(handles, LIMIT_S, include_result=False)
        verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: TASKS}
    idle, handed_over = list[float](), list[float]()
    for when, handle in zip(due, handles, strict=True):
        record = verdict.records[handle.id]
        assert record.start_time is not None
        exact = when.replace(microsecond=when.microsecond // 1000 * 1000)
        late_s = (record.start_time - exact).total_seconds()
        assert late_s >= 0, f"{handle.id} started {-late_s} s too early: {record.events}"
        away = killed - timedelta(seconds=LATE_S) < exact < back + timedelta(seconds=HAND_OVER_S)
        (handed_over if away else idle).append(late_s)
    away_s = (back - killed).total_seconds()
    print(  # noqa: T201  for -s
        f"late when idle: p50 {percentile(idle, 0.5):.3f} s, p99 {percentile(idle, 0.99):.3f} s, "
        f"at most {max(idle):.3f} s of {len(idle)}; no scheduler for {away_s:.2f} s: "
        f"at most {max(handed_over):.3f} s of {len(handed_over)}; {verdict}"
    )
    assert percentile(idle, 0.99) < LATE_S
    assert max(handed_over) < away_s + HAND_OVER_S
