"""Routing means the same for calls as for tasks: zones, weights, and what stays with a runner."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from scheduler.errors import ShuttingDown
from scheduler.policies.policy import Policy, Routing
from scheduler.routing.choice import Candidate, Errand, key_of
from scheduler.routing.consistent_hash import ConsistentHash
from services.relayed import Relayed
from tests.direct_runners import FakeRunner, Way, refusing, tensor_call, way_to


async def connected(way: Way, count: int, **wanted: Any) -> None:
    """Wait until so many runners of model m can be reached."""
    group = way.calls.fleet.group(way.calls.model("m", **wanted))
    async with asyncio.timeout(10):
        while sum(one.open for one in group.connections) < count:
            await way.calls.fleet.look()
            await asyncio.sleep(0.01)


async def call(way: Way, **fields: Any) -> str:
    """Make a call and return its runner."""
    wanted = tensor_call(**fields)
    await asyncio.wait_for(way.calls.call(wanted), 10)
    return wanted.runner


def routed(routing: Routing) -> Policy:
    return Policy(routing={"m": routing})


async def test_a_runner_of_the_gateways_own_zone_goes_first_while_it_has_room() -> None:
    near = FakeRunner("r2", zone="here", load_us=90_000)
    others = [FakeRunner("r1", zone="there"), FakeRunner("r3")]
    async with way_to(near, *others, policy=routed(Routing.ZONE_FIRST), zone="here") as way:
        await connected(way, 3)
        assert [await call(way) for _ in range(6)] == ["r2"] * 6


async def test_without_room_in_its_zone_a_gateway_takes_any_runner_and_its_own_where_nobody_has_room() -> (
    None
):
    near = FakeRunner("r2", zone="here", load_us=5_000_000, held=50)
    other = FakeRunner("r1", zone="there")
    async with way_to(near, other, policy=routed(Routing.ZONE_FIRST), zone="here") as way:
        await connected(way, 2)
        assert await call(way) == "r2"  # not known yet to have much to do
        assert [await call(way) for _ in range(6)] == ["r1"] * 6
        other.load_us, other.held = 9_000_000, 90
        assert await call(way) == "r1"  # which tells that it has more now
        assert await call(way) == "r2"


async def test_runners_get_calls_in_proportion_to_their_weights_and_none_said_is_the_usual_one() -> None:
    heavy, usual = FakeRunner("r1", weight=300), FakeRunner("r2")
    async with way_to(heavy, usual, policy=routed(Routing.WEIGHTED)) as way:
        await connected(way, 2)
        seen = Counter([await call(way) for _ in range(40)])
    assert 28 <= seen["r1"] <= 32, seen


async def test_what_has_the_same_tenant_and_kind_meets_the_runner_that_a_task_would() -> None:
    runners = [FakeRunner(f"r{number}") for number in range(5)]
    hashing = ConsistentHash()
    candidates = [Candidate(runner.id, 1, 0, 0.0) for runner in runners]
    async with way_to(*runners, policy=routed(Routing.CONSISTENT_HASH)) as way:
        await connected(way, 5)
        homes = set()
        for kind in ("", "chat", "search", "batch", "night"):
            # As scheduler/service/sharing_out.py chooses for a task whose label says this kind.
            home = candidates[hashing.choose(candidates, Errand(key_of("tenant", kind)))].id
            assert [await call(way, kind=kind) for _ in range(3)] == [home] * 3
            homes.add(home)
    assert len(homes) > 1


async def test_sequences_of_two_versions_with_the_same_id_are_two() -> None:
    one, two = FakeRunner("r1", model="m@1", version=1), FakeRunner("r2", model="m", version=2)
    async with way_to(one, two) as way:
        await connected(way, 1, version=1)
        await connected(way, 1, version=2)
        for start in (True, False):
            for version, home in ((1, "r1"), (2, "r2")):
                got = await call(way, version=version, sequence_key="s", sequence_start=start)
                assert got == home
        # The end of one of them is not the end of the other one.
        await call(way, version=2, sequence_key="s", sequence_end=True)
        assert await call(way, model="m@1", sequence_key="s") == "r1"
        assert await call(way, sequence_key="s", sequence_start=True) == "r2"


async def test_a_call_that_named_no_version_goes_to_another_one_when_the_highest_goes() -> None:
    one = FakeRunner("r1", model="m@1", version=1)
    two = FakeRunner("r2", refusing(ShuttingDown("takes no more work")), model="m", version=2)
    async with way_to(one, two) as way:
        await connected(way, 1, version=2)
        assert await call(way) == "r1"
        wanted = tensor_call()
        await way.calls.call(wanted)
        assert (wanted.runner, wanted.served_version) == ("r1", 1)
        # Who names a version means it, and so does who is in the middle of a sequence.
        for fields in ({"version": 2}, {"model": "m@2"}, {"sequence_key": "s", "sequence_start": True}):
            with pytest.raises(Relayed, match="takes no more work"):
                await call(way, **fields)
    assert not len(way.calls)
