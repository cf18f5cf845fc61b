"""A disk that is full for the broker or the record store: submits fail typed and in time, and go on when it is not."""

import asyncio
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from forebay.client import (
    AsyncClient,
    ForebayClientError,
    RetryPolicy,
    SubmitManyError,
    TaskState,
    Unavailable,
    task_spec,
)
from tests.fault.conftest import SCALE
from tests.fault.history import RUN_LABEL, History, watched
from tests.fault.kinds import nothing_is_left
from tests.fault.load import Load, Refusal
from tests.system import forebay_up

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120 + 30 * SCALE),
    pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set with prlimit"),
]

ANSWER_S = 1.5
MARGIN_S = 2.0
SETTINGS = {
    "FOREBAY_BROKER_SEND_TIMEOUT_S": f"{ANSWER_S}",
    "FOREBAY_REDIS_TIMEOUT_S": f"{ANSWER_S}",
    "FOREBAY_SCHEDULER_LEASE_MS": "3000",
    "FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "1500",
}
ROOM_BYTES = 64 * 1024
"""What a file may still grow by."""
TASK_ROWS = 2000
"""Of four numbers each: 32 kB a task."""
RECOVERY_S = 20.0
"""Until a submit is accepted again."""


@contextmanager
def full(pid: int, folder: Path) -> Iterator[None]:
    """Let a process make no file larger than its largest one is now and a little, for as long as the block lasts."""
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + ROOM_BYTES, before[1]))
    try:
        yield
    finally:
        try:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        except ProcessLookupError:
            # It did not survive it; the one that was started instead has no limit.
            pass


async def submit(client: AsyncClient, history: History, number: int, refusals: list[Refusal]) -> bool:
    """Try once to submit a large task; return whether it was accepted."""
    key = f"{history.run}-large-{number}"
    spec = task_spec(
        "add",
        tensors={"x": np.full((TASK_ROWS, 4), number, np.float32)},
        labels={RUN_LABEL: history.run},
        idempotency_key=key,
    )
    began_s = asyncio.get_running_loop().time()
    try:
        [handle] = await client.submit_many([spec])
    except ForebayClientError as error:
        if isinstance(error, SubmitManyError):
            [error] = [result for result in error.results if isinstance(result, ForebayClientError)]
        refusals.append(Refusal(error, asyncio.get_running_loop().time() - began_s))
        return False
    history.accept(key, handle)
    return True


@pytest.mark.parametrize(
    ("server", "reason"),
    [("pulsar-lite", "LOG_UNAVAILABLE"), ("valkey", "RECORDS_UNAVAILABLE")],
    ids=["broker", "record store"],
)
async def test_submits_fail_typed_and_in_time_while_a_disk_is_full_and_go_on_when_it_is_not(
    server: str, reason: str, data: Path, models: dict[str, Path]
) -> None:
    refusals = list[Refusal]()
    numbers = count()
    with forebay_up(data, {"add": models["add"]}, environment=SETTINGS) as system:
        # One try for each call: what the gateway answers is what is looked at.
        plain = AsyncClient(system.grpc, retry=RetryPolicy(attempts=1), timeout_s=10)
        async with plain as client, watched(client, server) as history:
            await Load(client, history, tasks=100, slow_every=0).run()
            for _ in range(SCALE):
                seen = len(refusals)
                pid = system.pid(server)
                with full(pid, data / server):
                    async with asyncio.timeout(30):
                        while len(refusals) - seen < 5:
                            await submit(client, history, next(numbers), refusals)
                async with asyncio.timeout(RECOVERY_S):
                    began_s = asyncio.get_running_loop().time()
                    while not await submit(client, history, next(numbers), refusals):  # noqa: ASYNC110  no event says it
                        await asyncio.sleep(0.1)
                    recovered_s = asyncio.get_running_loop().time() - began_s
                survived = system.pid(server) == pid
            for info in await client.wait_many(history.accepted, 60, include_result=False):
                assert info.state is TaskState.SUCCEEDED
            # What was refused may be there as well, and comes to its end: nobody was told that it is not.
            verdict = await history.check(client)
            await nothing_is_left(client)
        others = [
            line
            for line in system.lines
            if line.startswith(("gateway ", "scheduler ", "agent ")) and "died" in line
        ]
    slowest_s = max(refusal.took_s for refusal in refusals)
    print(  # noqa: T201  for -s
        f"{len(refusals)} refusals, the slowest after {slowest_s:.2f} s, accepted again after {recovered_s:.2f} s; "
        f"the server {'survived' if survived else 'did not survive'} it; {verdict}"
    )
    assert others == []
    for refusal in refusals:
        assert isinstance(refusal.error, Unavailable), (refusal.error.code, refusal.error.message)
        assert refusal.error.reason == reason and refusal.error.retry_after_s, refusal.error.message
    assert slowest_s < 2 * ANSWER_S + MARGIN_S
    assert verdict.states == {TaskState.SUCCEEDED: len(history.accepted)}
