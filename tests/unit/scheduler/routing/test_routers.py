"""Each routing policy over plain candidates."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.policy import Policy, Routing
from scheduler.routing.choice import Candidate, Errand, Router
from scheduler.routing.consistent_hash import ConsistentHash
from scheduler.routing.least_outstanding import LeastOutstanding
from scheduler.routing.power_of_two import PowerOfTwo
from scheduler.routing.prefix_affinity import MOST_BLOCKS, PrefixAffinity
from scheduler.routing.round_robin import RoundRobin
from scheduler.routing.routers import Routers
from scheduler.routing.weighted import Weighted
from scheduler.routing.zone_first import ZoneFirst

ERRAND = Errand(key=1)


def fleet(count: int, **same: object) -> list[Candidate]:
    return [Candidate(f"r{place}", 8, 0, 0.0)._replace(**same) for place in range(count)]  # type: ignore[arg-type]


def chosen(router: Router, candidates: Sequence[Candidate], errands: Sequence[Errand]) -> Counter[str]:
    return Counter(candidates[router.choose(candidates, errand)].id for errand in errands)


def test_the_runner_that_is_done_first_gets_the_task_however_few_tasks_others_hold() -> None:
    slow = Candidate("slow", 8, 1, 900.0)
    quick = Candidate("quick", 8, 6, 60.0)
    assert LeastOutstanding().choose([quick, slow], ERRAND) == 0


def test_of_two_that_are_done_at_the_same_time_the_one_with_fewer_tasks_for_its_slots_is_chosen() -> None:
    wide = Candidate("a", 8, 4, 0.0, slots=16)
    narrow = Candidate("b", 8, 3, 0.0, slots=1)
    assert LeastOutstanding().choose([wide, narrow], ERRAND) == 0


def test_a_runner_of_a_third_of_the_speed_gets_its_due_and_no_more() -> None:
    outstanding = {"quick": 0.0, "slow": 0.0}
    speed = {"quick": 3.0, "slow": 1.0}
    got: Counter[str] = Counter()
    router = LeastOutstanding()
    for _ in range(4000):
        candidates = [Candidate(name, 8, 0, outstanding[name]) for name in sorted(outstanding)]
        name = candidates[router.choose(candidates, ERRAND)].id
        got[name] += 1
        outstanding[name] += 10.0 / speed[name]
        for one in outstanding:
            outstanding[one] = max(0.0, outstanding[one] - 2.5)
    assert got["quick"] / got["slow"] == pytest.approx(3.0, rel=0.05)


def test_by_turns_every_runner_gets_as_many_and_one_that_leaves_costs_nobody_a_turn() -> None:
    router = RoundRobin()
    assert chosen(router, fleet(3), [ERRAND] * 9) == {"r0": 3, "r1": 3, "r2": 3}
    without = [one for one in fleet(3) if one.id != "r1"]
    assert [without[router.choose(without, ERRAND)].id for _ in range(4)] == ["r0", "r2", "r0", "r2"]


def test_of_two_drawn_at_random_the_less_loaded_one_is_chosen() -> None:
    candidates = fleet(4)
    candidates[2] = candidates[2]._replace(outstanding_ms=1000.0)
    got = chosen(PowerOfTwo(Random(7)), candidates, [ERRAND] * 600)
    assert got["r2"] == 0
    assert min(got[name] for name in ("r0", "r1", "r3")) > 100


def test_weights_share_work_and_one_that_comes_back_is_not_owed_for_its_absence() -> None:
    router = Weighted()
    both = [Candidate("new", 8, 0, 0.0, weight=5), Candidate("old", 8, 0, 0.0, weight=95)]
    assert chosen(router, both, [ERRAND] * 1000)["new"] == pytest.approx(50, abs=2)
    chosen(router, both[1:], [ERRAND] * 1000)
    assert chosen(router, both, [ERRAND] * 100)["new"] <= 7


def test_weights_count_work_and_not_tasks() -> None:
    even = [Candidate("a", 8, 0, 0.0), Candidate("b", 8, 0, 0.0)]
    router = Weighted()
    work: Counter[str] = Counter()
    for turn in range(2000):
        errand = Errand(1, work_ms=10.0 if turn % 3 else 1.0)
        work[even[router.choose(even, errand)].id] += int(errand.work_ms)
    assert work["a"] == pytest.approx(work["b"], rel=0.02)


@given(keys=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50), gone=st.integers(0, 4))
def test_a_key_meets_the_same_runner_until_that_one_goes(keys: list[int], gone: int) -> None:
    router, runners = ConsistentHash(), fleet(5)
    before = {key: runners[router.choose(runners, Errand(key))].id for key in keys}
    left = [one for place, one in enumerate(runners) if place != gone]
    for key, runner in before.items():
        after = left[router.choose(left, Errand(key))].id
        assert after == runner or runner == f"r{gone}"


def test_keys_are_spread_evenly_over_runners() -> None:
    got = chosen(ConsistentHash(), fleet(4), [Errand(key) for key in range(4000)])
    assert all(count == pytest.approx(1000, rel=0.12) for count in got.values())


def test_a_prompt_goes_where_its_longest_beginning_was_sent() -> None:
    router, runners = PrefixAffinity(), fleet(3)
    first = runners[router.choose(runners, Errand(1, (1, 2, 3)))].id
    busier = [one._replace(outstanding_ms=500.0 * (one.id == first)) for one in runners]
    other = busier[router.choose(busier, Errand(1, (7, 8)))].id
    assert other != first
    assert busier[router.choose(busier, Errand(1, (1, 2, 4)))].id == first
    assert busier[router.choose(busier, Errand(1, (7, 8, 9)))].id == other


def test_a_runner_that_holds_far_more_than_others_gets_no_prompt_for_what_it_knows() -> None:
    router, runners = PrefixAffinity(), fleet(2, slots=4)
    first = router.choose(runners, Errand(1, (1,)))
    runners[first] = runners[first]._replace(held=9, outstanding_ms=900.0)
    assert router.choose(runners, Errand(1, (1,))) != first


def test_no_more_beginnings_are_remembered_than_the_bound() -> None:
    router, runners = PrefixAffinity(), fleet(1)
    for start in range(0, 3 * MOST_BLOCKS, 64):
        router.choose(runners, Errand(1, tuple(range(start, start + 64))))
    assert sum(map(len, router._known.values())) <= MOST_BLOCKS


def test_a_runner_of_the_own_zone_comes_first_and_others_serve_when_it_has_none() -> None:
    router = ZoneFirst("here")
    far = Candidate("a", 8, 0, 0.0, zone="there")
    near = Candidate("b", 8, 5, 900.0, zone="here")
    assert router.choose([far, near], ERRAND) == 1
    assert router.choose([far], ERRAND) == 0


def test_what_is_said_of_a_model_holds_for_its_versions() -> None:
    policy = Policy(routing={"": Routing.WEIGHTED, "m": Routing.CONSISTENT_HASH})
    assert [policy.route(name) for name in ("m", "m@2", "other@2")] == [
        Routing.CONSISTENT_HASH,
        Routing.CONSISTENT_HASH,
        Routing.WEIGHTED,
    ]


def test_a_model_keeps_its_router_until_its_routing_changes() -> None:
    routers = Routers(Random(1), policy=Policy(routing={"m": Routing.ROUND_ROBIN}))
    one, other = routers.of("m"), routers.of("n")
    assert (type(one), type(other)) == (RoundRobin, LeastOutstanding)
    routers.follow(Policy(routing={"m": Routing.ROUND_ROBIN, "": Routing.WEIGHTED}))
    assert routers.of("m") is one
    assert type(routers.of("n")) is Weighted


@given(
    routing=st.sampled_from(list(Routing)),
    loads=st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 9), st.floats(0, 1e6), st.integers(0, 1000)),
        min_size=1,
        max_size=8,
    ),
    errands=st.lists(st.tuples(st.integers(0, 9), st.floats(0.001, 1e6)), min_size=1, max_size=20),
)
def test_every_router_names_a_candidate_and_the_same_one_for_the_same_past(
    routing: Routing, loads: list[tuple[int, int, float, int]], errands: list[tuple[int, float]]
) -> None:
    runners = [
        Candidate(f"r{place}", free, held, outstanding, 2, weight, "z" * (place % 2))
        for place, (free, held, outstanding, weight) in enumerate(loads)
    ]
    policy = Policy(routing={"": routing})
    twins = [Routers(Random(3), "z", policy).of("m") for _ in range(2)]
    for key, work_ms in errands:
        errand = Errand(key, (key, key + 1), work_ms)
        one, other = (router.choose(runners, errand) for router in twins)
        assert one == other
        assert 0 <= one < len(runners)
