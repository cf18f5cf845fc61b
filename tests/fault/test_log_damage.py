"""The embedded broker's log cut short, as a crash of the machine would leave it: what was accepted comes to its end."""

import os
import random
import time
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskState
from tests.fault.conftest import SCALE
from tests.fault.history import RUN_LABEL, watched
from tests.fault.kinds import HOUR, add, nothing_is_left
from tests.fault.load import Load
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 60 * SCALE)]

WAITING = 200


def end_at_once(system: System) -> None:
    """SIGKILL everything, as if the machine had been switched off: who started the others takes them with it."""
    system.process.kill()
    system.process.wait(30)


def newest_log(data: Path) -> Path:
    """Return the file of the log that was written last."""
    logs = [path for path in (data / "pulsar-lite").rglob("*.log") if "entrylog" in path.parts]
    return max(logs, key=lambda path: path.stat().st_mtime_ns)


async def test_a_log_whose_tail_is_gone_is_noticed_at_the_start_and_nothing_that_was_accepted_with_it(
    data: Path, models: dict[str, Path], chance: random.Random
) -> None:
    for number in range(SCALE):
        await one_round(data / f"{number}", models, chance, f"tail-{number}")


async def one_round(data: Path, models: dict[str, Path], chance: random.Random, run: str) -> None:
    keys = [f"{run}-waiting-{number}" for number in range(WAITING)]
    labels = {RUN_LABEL: run}
    # Nobody serves them: all are still on the log at its end.
    with forebay_up(data, {}) as system:
        async with AsyncClient(system.grpc) as client:
            specs = [add(labels=labels, idempotency_key=key) for key in keys]
            waiting = await client.submit_many(specs)
            [delayed] = await client.submit_many([add(not_before=HOUR, idempotency_key=f"{run}-delayed")])
        end_at_once(system)
    torn = newest_log(data)
    size = torn.stat().st_size
    cut = chance.randrange(1, min(size, 20_000))
    os.truncate(torn, size - cut)
    began_s = time.monotonic()
    with forebay_up(data, {"add": models["add"]}) as system:
        system.wait_line("the log is damaged", 1)
        ready_s = time.monotonic() - began_s
        async with AsyncClient(system.grpc) as client, watched(client, run) as history:
            for key, handle in zip(keys, waiting, strict=True):
                history.accept(key, handle)
            ended = await client.wait_many(waiting, 60)
            assert {task.state for task in ended} == {TaskState.SUCCEEDED}
            through_s = time.monotonic() - began_s
            # No lane is wedged: every level takes new work.
            load = Load(client, history, tasks=200, slow_every=0)
            await load.run()
            verdict = await history.check(client)
            assert (await client.get(delayed)).state is TaskState.SCHEDULED
            await client.cancel(delayed)
            await nothing_is_left(client)
    print(  # noqa: T201  for -s
        f"{cut} of {size} bytes cut off; ready after {ready_s:.1f} s, everything had ended after {through_s:.1f} s"
    )
    assert verdict.states == {TaskState.SUCCEEDED: WAITING + load.tasks}
    assert len(history.accepted) == WAITING + load.tasks
