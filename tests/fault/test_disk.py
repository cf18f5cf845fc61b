"""A disk that is full for the broker or the record store: submits fail typed and in time, and go on when it is not."""

import asyncio
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import numpy as np
import psutil
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
TRIES = 5
"""Refusals that are looked at in one round."""
ENDED_S = 60.0
"""Until everything has ended. It takes 4 to 10 s: a torn log is noticed up to 5 s after it was met, and exchanged."""
RECOVERY_S = 20.0
"""Until a submit is accepted again."""


@contextmanager
def full(pid: int) -> Iterator[None]:
    """Let a process make no file larger than its largest one is now and a little, for as long as the block lasts."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Whoever does not survive it, or is just being exchanged, is followed by one without a limit.
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        largest = max(Path(file.path).stat().st_size for file in psutil.Process(pid).open_files())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + ROOM_BYTES, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def submit(client: AsyncClient, history: History, number: int, refusals: list[Refusal]) -> bool:
    """Try once to submit a large task; return whether it was accepted.

    It is all zeros: the broker ends in its own way when it takes those for the header of a message.
    """
    key = f"{history.run}-large-{number}"
    spec = task_spec(
        "add",
        tensors={"x": np.zeros((TASK_ROWS, 4), np.float32)},
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
    survived, recovered_s, ended_s = list[bool](), list[float](), list[float]()
    loop = asyncio.get_running_loop()
    numbers = count()
    with forebay_up(data, {"add": models["add"]}, environment=SETTINGS) as system:
        # One try for each call: what the gateway answers is what is looked at.
        plain = AsyncClient(system.grpc, retry=RetryPolicy(attempts=1), timeout_s=10)
        async with plain as client, watched(client, server) as history:
            await Load(client, history, tasks=100, slow_every=0).run()
            for _ in range(SCALE):
                seen = len(refusals)
                pid = system.pid(server)
                with full(pid):
                    async with asyncio.timeout(30):
                        # The log that was torn in the round before may be exchanged only now: the new broker has room.
                        while len(refusals) - seen < TRIES and system.pid(server) == pid:
                            await submit(client, history, next(numbers), refusals)
                survived.append(system.pid(server) == pid)
                began_s = loop.time()
                async with asyncio.timeout(RECOVERY_S):
                    while not await submit(client, history, next(numbers), refusals):  # noqa: ASYNC110  no event says it
                        await asyncio.sleep(0.1)
                recovered_s.append(loop.time() - began_s)
                # What was refused may be there as well, and comes to its end: nobody was told that it is not.
                listed = [info.id async for info in client.list(labels={RUN_LABEL: history.run})]
                assert history.accepted.keys() <= set(listed)
                for info in await client.wait_many(listed, ENDED_S, include_result=False):
                    assert info.state is TaskState.SUCCEEDED
                ended_s.append(loop.time() - began_s)
            verdict = await history.check(client)
            await nothing_is_left(client)
        others = [
            line
            for line in system.lines
            if line.startswith(("gateway ", "scheduler ", "agent ")) and "died" in line
        ]
    slowest_s = max(refusal.took_s for refusal in refusals)
    print(  # noqa: T201  for -s
        f"{len(refusals)} refusals, the slowest after {slowest_s:.2f} s; the server survived {sum(survived)} of "
        f"{len(survived)} times; accepted again after {max(recovered_s):.2f} s, everything had ended after "
        f"{max(ended_s):.2f} s; {verdict}"
    )
    assert others == []
    assert len(refusals) >= TRIES
    for refusal in refusals:
        assert isinstance(refusal.error, Unavailable), (refusal.error.code, refusal.error.message)
        assert refusal.error.reason == reason and refusal.error.retry_after_s, refusal.error.message
    assert slowest_s < 2 * ANSWER_S + MARGIN_S
    assert verdict.states == {TaskState.SUCCEEDED: len(history.accepted)}
