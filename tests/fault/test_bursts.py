"""Many large messages at once, on all levels, for a scheduler that is too slow to read them: all of them start."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from forebay.client import AsyncClient, Priority, TaskState, task_spec
from tests.fault.back_door import frozen
from tests.fault.conftest import SCALE
from tests.system import forebay_up
from tests.tiny_models import save_add

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90 + 20 * SCALE)]

BURSTS: Final = 3 * SCALE
WIDTH: Final = 16_384
"""FP32 numbers in a row: 64 KiB, so that four tasks fill a bundle."""
EACH: Final = 50
"""Tasks of each level in a burst; with four levels 12 MiB on the log, more than the sockets on the way take."""
LIMIT_S: Final = 20.0


async def test_bursts_that_come_faster_than_the_scheduler_reads_start_without_anything_that_follows(
    data: Path, tmp_path: Path
) -> None:
    rows = np.ones((1, WIDTH), np.float32)
    specs = [task_spec("add", tensors={"x": rows}, priority=level) for level in Priority for _ in range(EACH)]
    with forebay_up(data, {"add": save_add(tmp_path / "add.onnx", WIDTH)}) as system:
        async with AsyncClient(system.grpc) as client:
            for _ in range(BURSTS):
                with frozen(system.pid("scheduler")):
                    handles = await client.submit_many(specs)
                ended = await client.wait_many(handles, LIMIT_S)
                assert {task.state for task in ended} == {TaskState.SUCCEEDED}
