"""What every PolicyStore must do."""

import asyncio

from scheduler.ports.policies import StoredPolicy
from tests.conformance.stores import Store


async def test_before_a_policy_was_stored_its_version_is_zero(store: Store) -> None:
    assert await store.policies.policy() == StoredPolicy(0, b"", 0)


async def test_a_stored_policy_stands_with_the_next_version_and_its_time(store: Store) -> None:
    before = await store.now_ms()
    first = await store.policies.replace(b"\x00one", 0)
    assert first is not None
    assert (first.version, first.body) == (1, b"\x00one")
    assert before <= first.time_ms <= await store.now_ms()
    assert await store.policies.policy() == first
    second = await store.policies.replace(b"", 1)
    assert second is not None
    assert await store.policies.policy() == second == StoredPolicy(2, b"", second.time_ms)


async def test_a_policy_made_from_another_version_changes_nothing(store: Store) -> None:
    assert await store.policies.replace(b"early", 1) is None
    stands = await store.policies.replace(b"one", 0)
    assert await store.policies.replace(b"late", 0) is None
    assert await store.policies.policy() == stands


async def test_of_many_that_replace_the_same_version_one_succeeds(store: Store) -> None:
    answers = await asyncio.gather(*(store.policies.replace(b"%d" % n, 0) for n in range(8)))
    [stands] = [answer for answer in answers if answer is not None]
    assert await store.policies.policy() == stands
