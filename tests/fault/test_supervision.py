"""What `forebay up` makes of parts that cannot work: a broken model, a child that dies again and again."""

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from forebay.client import AsyncClient
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_a_model_that_cannot_be_loaded_says_why_and_stops_no_other(
    data: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no model")
    with forebay_up(data, {"broken": broken, "add": models["add"]}) as system:
        system.wait_line(rf"^broken +cannot be served: .*{re.escape(broken.name)}", 1)
        async with AsyncClient(system.grpc) as client:
            task = await client.submit("add", tensors={"x": np.ones((1, 4), np.float32)})
            assert (await client.wait(task, 20)).tensors["y"].tolist() == [[2.0] * 4]
            served = {model.name: model for model in await client.models()}
        assert broken.name in " ".join(served["broken"].failures)
        assert not served["add"].failures


async def test_three_deaths_of_one_child_within_a_minute_end_everything_with_the_reason(
    data: Path, models: dict[str, Path]
) -> None:
    with forebay_up(data, {"add": models["add"]}) as system:
        family = system.children()
        for _ in range(2):
            printed = system.kill("gateway")
            await asyncio.to_thread(system.wait_line, r"^gateway +ready after", 30, after=printed)
        system.kill("gateway")
        line = await asyncio.to_thread(system.wait_line, "^forebay: ", 30)
        assert re.match(r"forebay: gateway died 3 times within a minute \(by SIGKILL", line)
        assert str(data / "logs" / "gateway.log") in line
        assert await asyncio.to_thread(system.process.wait, 30) == 1
        assert not [process for process in family if process.is_running()]
