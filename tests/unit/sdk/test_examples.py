import asyncio
import sys
from pathlib import Path

import pytest

from forebay.tasks.v1.inputs_pb2 import FinishReason
from forebay.tasks.v1.task_pb2 import TaskState
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from tests.unit.sdk.fake_gateway import FakeGateway

EXAMPLES = Path(__file__).parents[3] / "examples"


async def run(example: str, *arguments: str, address: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / example), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PYTHONPATH": ":".join(sys.path), "FOREBAY_ADDRESS": address},
    )
    try:
        async with asyncio.timeout(15):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.parametrize("example", ["submit_and_wait.py", "stream_tokens.py", "many_with_priorities.py"])
async def test_every_example_runs_to_its_end(example: str, address: str, gateway: FakeGateway) -> None:
    last = StreamOutputResponse(
        sequence=1,
        text="a river",
        finish_reason=FinishReason.FINISH_REASON_STOP,
        state=TaskState.TASK_STATE_SUCCEEDED,
    )
    gateway.output[f"07-{0:026d}"] = [last]
    output = await run(example, "--model", "smollm2", address=address)
    assert output.strip()
    assert all(spec.model == "smollm2" for spec in gateway.specs.values())


async def test_the_example_of_priorities_shows_all_four(address: str, gateway: FakeGateway) -> None:
    output = await run("many_with_priorities.py", "--count", "2", address=address)
    assert all(output.count(f" {level} ") >= 2 for level in ("critical", "high", "normal", "low"))
