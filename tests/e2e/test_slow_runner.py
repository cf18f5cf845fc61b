"""Two runners of one model, one of them slow: each gets its due, and the slow one delays nobody for long."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from forebay.client import Client, TaskState, task_spec
from inference.runner.ahead import TARGET_S
from inference.runner.terms import LEAST_ALONE
from services.embedded import valkey
from tests.system import System, forebay_up
from tests.tiny_models import save_countdown

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SLOWNESS: Final = 4
TURNS: Final = 25_000
"""About 20 ms of work for the quick one."""
TASKS: Final = 400
LIMIT_S: Final = 60.0
SLOW: Final = "slow-one"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system with its own runner of `countdown` and a slow one beside it."""
    quick = save_countdown(tmp_path / "quick.onnx")
    slow = save_countdown(tmp_path / "slow.onnx", SLOWNESS)
    # Not below pytest's own folder: the path of a socket inside must stay under 108 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="forebay-slow-") as data,
        forebay_up(Path(data), {"countdown": quick}) as running,
        runner_beside(running, slow),
    ):
        yield running


@contextmanager
def runner_beside(system: System, model: Path) -> Iterator[None]:
    """Run one more runner of `countdown`, with another model file, until the block ends."""
    environment = {
        "FOREBAY_REDIS_URL": valkey.address(system.data / "valkey.sock"),
        "FOREBAY_RUNNER_MODEL": "countdown",
        "FOREBAY_RUNNER_PATH": str(model),
        "FOREBAY_RUNNER_ID": SLOW,
        "FOREBAY_RUNNER_METRICS_LISTEN": "",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "inference.runner"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            with Client(system.grpc) as client:
                until_both_are_ready(client)
            yield
        finally:
            process.terminate()


def until_both_are_ready(client: Client) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while [runner.state for runner in client.runners("countdown")] != ["ready"] * 2:
        assert time.monotonic() < deadline_s, client.runners("countdown")
        time.sleep(0.1)


def test_of_two_runners_the_slow_one_gets_its_due_and_no_more(system: System) -> None:
    spec = task_spec("countdown", tensors={"turns": np.array([TURNS], np.int64)})
    with Client(system.grpc) as client:
        tasks = client.wait_many(client.submit_many([spec] * TASKS), LIMIT_S)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
    ends: dict[bool, list[float]] = {True: [], False: []}
    for task in tasks:
        assert task.end_time is not None
        ends[task.runner == SLOW].append(task.end_time.timestamp())
    slow, quick = sorted(ends[True]), sorted(ends[False])
    # By its pace it is a fifth; what each task costs beside the model's run is the same for both.
    assert TASKS / 10 <= len(slow) <= TASKS / 3, (len(slow), len(quick))
    # Nobody waits for it in the end but for what it held by then.
    slow_task_s = (slow[-1] - slow[0]) / (len(slow) - 1)
    held_s = max(LEAST_ALONE * slow_task_s, TARGET_S)
    assert slow[-1] - quick[-1] <= 2 * held_s, (slow[-1] - quick[-1], slow_task_s)
    # Nor does it come to an end much sooner: it was given work while there was any.
    assert quick[-1] - slow[-1] <= 2 * held_s, (quick[-1] - slow[-1], slow_task_s)
