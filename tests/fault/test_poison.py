"""Tasks that end their runner each time, among others: they use up their attempts, and the others succeed."""

import random
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskInfo, TaskState
from tests.fault.back_door import ROUNDS, back, letters
from tests.fault.crashing_model import DEADLY, dividing, needs_a_trap, quotient, save_crashing
from tests.fault.history import MAX_ATTEMPTS, RUN_LABEL, watched
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), needs_a_trap]

SETTINGS = {
    "FOREBAY_AGENT_FIRST_PAUSE_S": "0.1",
    "FOREBAY_SCHEDULER_LEASE_MS": "1500",
}
"""Runners and leases come back soon, so that the test ends soon."""
NEIGHBOURS = 20
WAIT_S = 90.0


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that ends its runner for one input."""
    return {"crashing": save_crashing(tmp_path_factory.mktemp("crashing") / "crashing.onnx")}


def charged(info: TaskInfo) -> int:
    """Return how many attempts count against the maximum."""
    return info.attempt - info.uncharged_attempts


@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("deadly", [1, 2])
async def test_tasks_that_end_their_runner_each_time_become_dead_letters_and_their_neighbours_succeed_uncharged(
    data: Path, crashing: dict[str, Path], chance: random.Random, deadly: int, number: int
) -> None:
    inputs = [DEADLY] * deadly + [chance.randrange(600) for _ in range(NEIGHBOURS)]
    chance.shuffle(inputs)
    with forebay_up(data, crashing, environment=SETTINGS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"poison {number}") as history:
            specs = [
                dividing(x, labels={RUN_LABEL: history.run}, idempotency_key=f"{place}")
                for place, x in enumerate(inputs)
            ]
            handles = await client.submit_many(specs)
            for spec, handle in zip(specs, handles, strict=True):
                history.accept(spec.idempotency_key, handle)
            await client.wait_many(handles, WAIT_S)
            # The model serves afterwards, and nobody suspects what comes then.
            [later] = await client.wait_many([(await client.submit_many([dividing(1)]))[0]], WAIT_S)
            assert (later.state, later.attempt) == (TaskState.SUCCEEDED, 1)
            verdict = await history.check(client)
            dead = sorted(letter.id for letter in await letters(client))
    records = [verdict.records[handle.id] for handle in handles]
    for x, info in zip(inputs, records, strict=True):
        if x == DEADLY:
            assert info.state is TaskState.FAILED and info.error is not None
            assert (charged(info), info.error.reason) == (MAX_ATTEMPTS, "RUNNER_CRASHED")
        else:
            assert info.tensors["y"].tolist() == quotient(x)
            assert charged(info) == 1, info.events
    assert dead == sorted(info.id for x, info in zip(inputs, records, strict=True) if x == DEADLY)
    print(f"attempts {verdict.attempts}")  # noqa: T201  for -s


@pytest.mark.parametrize("number", ROUNDS)
async def test_the_death_of_the_agent_meanwhile_gives_such_a_task_no_further_attempt(
    data: Path, crashing: dict[str, Path], chance: random.Random, number: int
) -> None:
    inputs = [DEADLY] + [chance.randrange(600) for _ in range(NEIGHBOURS)]
    with forebay_up(data, crashing, environment=SETTINGS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"agent {number}") as history:
            specs = [dividing(x, labels={RUN_LABEL: history.run}, max_attempts=MAX_ATTEMPTS) for x in inputs]
            handles = await client.submit_many(specs)
            for handle in handles:
                history.accept(handle.id, handle)
            await history.until_attempt(chance.randrange(2, 5), {handles[0].id})
            printed = system.kill("agent")
            await back(system, "agent", printed)
            await client.wait_many(handles, WAIT_S)
            verdict = await history.check(client)
            dead = [letter.id for letter in await letters(client)]
    deadly, *neighbours = (verdict.records[handle.id] for handle in handles)
    assert (deadly.state, charged(deadly)) == (TaskState.FAILED, MAX_ATTEMPTS)
    for x, info in zip(inputs[1:], neighbours, strict=True):
        assert info.tensors["y"].tolist() == quotient(x)
    assert dead == [deadly.id]
    print(f"attempts {verdict.attempts}")  # noqa: T201  for -s
