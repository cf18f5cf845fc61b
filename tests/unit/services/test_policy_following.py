"""Following the stored policy: a new version is taken once, a bad one never; a store that is away changes nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from scheduler.adapters.clock import FakeClock
from scheduler.policies.policy import DEFAULT_POLICY, Policy, TaskOrder
from scheduler.ports.policies import StoredPolicy
from services.policy_following import INTERVAL_S, PolicyFollower
from services.policy_on_wire import stored
from tests.unit.services.policy_store import OnePolicy

INITIAL = replace(DEFAULT_POLICY, stretch=3.0)
SHORTEST = replace(DEFAULT_POLICY, order=TaskOrder.SHORTEST)
STALE = replace(DEFAULT_POLICY, ageing_every=1)


class Process:
    """One that follows the policy, and what it was told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = OnePolicy()
        self.told: list[tuple[Policy, int]] = []
        self.follower = PolicyFollower(
            self.store, INITIAL, lambda policy, version: self.told.append((policy, version)), self.clock
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.follower.run())
        await self.clock.until_asleep()
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def second(self) -> None:
        self.clock.advance(INTERVAL_S)
        await self.clock.until_asleep()


async def test_the_initial_policy_stands_until_one_is_stored() -> None:
    process = Process()
    assert not process.follower.known.is_set()
    async with process.running():
        await asyncio.wait_for(process.follower.known.wait(), 1)
        assert (process.follower.policy, process.follower.version, process.told) == (INITIAL, 0, [])
        process.store.put(stored(SHORTEST))
        await process.second()
        assert process.told == [(SHORTEST, 1)]
        assert (process.follower.policy, process.follower.version) == (SHORTEST, 1)


async def test_a_stored_policy_is_followed_before_it_is_known() -> None:
    process = Process()
    process.store.put(stored(SHORTEST))
    await process.follower.refresh()
    assert process.follower.known.is_set()
    assert process.told == [(SHORTEST, 1)]


async def test_a_version_is_told_once() -> None:
    process = Process()
    process.store.put(stored(SHORTEST))
    async with process.running():
        await process.second()
        await process.second()
        process.store.put(stored(INITIAL))
        await process.second()
    assert process.told == [(SHORTEST, 1), (INITIAL, 2)]


@pytest.mark.parametrize(
    ("body", "sentence"), [(b"\xff", "no policy"), (stored(STALE), "ageing_every: must be 2 to 1000, is 1")]
)
async def test_what_may_not_stand_is_refused_loudly_and_once_and_the_old_one_stays(
    body: bytes, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process()
    process.store.put(stored(SHORTEST))
    async with process.running():
        process.store.put(body)
        await process.second()
        await process.second()
        assert (process.follower.policy, process.follower.version) == (SHORTEST, 1)
        [refusal] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert sentence in str(vars(refusal)["faults"])
        process.store.put(stored(INITIAL))
        await process.second()
    assert process.told == [(SHORTEST, 1), (INITIAL, 3)]


async def test_a_store_that_is_away_changes_nothing_and_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = Process()
    process.store.away = True
    async with process.running():
        await process.second()
        assert not process.follower.known.is_set()
        process.store.away = False
        process.store.put(stored(SHORTEST))
        await process.second()
        assert process.follower.known.is_set()
        process.store.away = True
        await process.second()
        await process.second()
    assert process.told == [(SHORTEST, 1)]
    assert process.follower.policy == SHORTEST
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2


async def test_a_store_that_lost_its_policy_means_the_initial_one_and_its_next_version_counts() -> None:
    process = Process()
    process.store.put(stored(SHORTEST))
    await process.follower.refresh()
    process.store.standing = StoredPolicy(0, b"", 0)
    await process.follower.refresh()
    assert process.told[-1] == (INITIAL, 0)
    other = replace(SHORTEST, stretch=1.0)
    process.store.standing = StoredPolicy(1, stored(other), 9000)
    await process.follower.refresh()
    assert process.told[-1] == (other, 1)


async def test_a_look_that_began_before_a_change_was_taken_does_not_undo_it() -> None:
    process = Process()
    process.store.answers.clear()
    look = asyncio.create_task(process.follower.refresh())
    await asyncio.sleep(0)
    process.store.put(stored(SHORTEST))
    process.follower.take(process.store.standing)
    process.store.answers.set()
    await look
    assert process.told == [(SHORTEST, 1)]
    assert process.follower.known.is_set()
