"""Processes that end while their log client waits for messages: exit code 0, nothing on stderr."""

import subprocess
import sys
from typing import Final

import pytest

from tests.fault.conftest import SCALE
from tests.fixtures.pulsar import PulsarLite

ENDINGS: Final = 8 * SCALE
"""What this looks for was seen in a quarter of all endings."""

PROGRAM: Final = """
import asyncio, sys
from scheduler.adapters.pulsar import PulsarConsumer
from scheduler.lanes import queue_lanes
from scheduler.states import Level

async def main():
    lanes = [lane for level in Level for lane in queue_lanes(sys.argv[2], level, 8)]
    consumer = PulsarConsumer(sys.argv[1], "public/default", lanes, "shared")
    await consumer.open()
    await consumer.close()

asyncio.run(main())
"""


@pytest.mark.timeout(60 * SCALE)
def test_a_process_with_receives_pending_ends_with_code_0(pulsar_lite: PulsarLite) -> None:
    for number in range(ENDINGS):
        command = [sys.executable, "-c", PROGRAM, pulsar_lite.url, f"endings-{number}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, ""), f"ending {number}"
