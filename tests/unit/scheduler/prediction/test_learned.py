"""What is foretold of tasks after others were seen."""

import sys
from collections.abc import Callable
from itertools import islice
from random import Random
from statistics import fmean

import pytest

from scheduler.policies.expected import UNKNOWN, Spent, Traits
from scheduler.prediction import LearnedCost
from scheduler.prediction.learned import MOST_CELLS, MOST_CONTEXTS, MOST_MODELS
from scheduler.prediction.usual import MOST_USUAL

from .streams import (
    CHAT_TOKENS,
    MS_PER_BYTE,
    MS_PER_TOKEN,
    REPORT_TOKENS,
    Stream,
    error,
    generations,
    teach,
    tensors,
)

CHAT = Traits("lm", "acme", 3, 1000, 2048, "chat")
REPORT = CHAT._replace(kind="report")


def taught(stream: Stream, tasks: int = 2000) -> LearnedCost:
    costs = LearnedCost()
    teach(costs, stream, tasks)
    return costs


def tokens_in(work_ms: float, traits: Traits) -> float:
    return (work_ms - MS_PER_BYTE * traits.input_size) / MS_PER_TOKEN


def mean_wait_ms(waiting: list[tuple[Traits, Spent]], key: Callable[[Traits], float]) -> float:
    """Return how long tasks wait on average for one runner that takes them in the order of a key."""
    now_ms = waits_ms = 0.0
    for _, spent in sorted(waiting, key=lambda task: key(task[0])):
        waits_ms += now_ms
        now_ms += spent.work_ms
    return waits_ms / len(waiting)


def test_of_a_task_of_which_nothing_is_known_nothing_is_claimed() -> None:
    expected = LearnedCost().expect(Traits("m", "t", 3))
    assert (expected.work_ms, expected.execute_ms, expected.least_ms) == UNKNOWN


def test_before_anything_was_seen_limits_and_inputs_order_tasks() -> None:
    costs = LearnedCost()
    short, long = (costs.expect(CHAT._replace(output_limit=limit)).work_ms for limit in (16, 1024))
    assert short < long
    small, large = (costs.expect(Traits("m", "t", 3, size)).work_ms for size in (100, 1_000_000))
    assert small < large


def test_the_first_task_that_ends_tells_of_the_next() -> None:
    costs = LearnedCost()
    traits = Traits("m", "t", 3, 100)
    costs.learn(traits, Spent(200.0, 400.0))
    assert costs.expect(traits).work_ms == pytest.approx(200.0, rel=0.1)


def test_what_is_expected_of_a_generation_is_the_mean_of_its_kind() -> None:
    costs = taught(generations(Random(1)))
    # The mean of a lognormal with sigma 0.6 is 1.2 times its median.
    assert tokens_in(costs.expect(CHAT).work_ms, CHAT) == pytest.approx(1.2 * CHAT_TOKENS, rel=0.3)
    assert tokens_in(costs.expect(REPORT).work_ms, REPORT) == pytest.approx(1.2 * REPORT_TOKENS, rel=0.25)
    assert costs.expect(REPORT).execute_ms == pytest.approx(4 * costs.expect(REPORT).work_ms, rel=0.1)


def test_no_more_is_expected_than_the_limit_allows() -> None:
    costs = taught(generations(Random(1)))
    bounded = REPORT._replace(output_limit=50)
    assert tokens_in(costs.expect(bounded).work_ms, bounded) < 1.15 * 50


def test_a_longer_prompt_costs_more_by_what_reading_it_takes() -> None:
    costs = taught(generations(Random(1)))
    longer = costs.expect(CHAT._replace(input_size=30_000)).work_ms - costs.expect(CHAT).work_ms
    assert longer == pytest.approx(29_000 * MS_PER_BYTE, rel=0.3)


def test_a_new_tenant_is_foretold_by_what_others_did() -> None:
    costs = taught(generations(Random(1)))
    known, new = costs.expect(REPORT).work_ms, costs.expect(REPORT._replace(tenant="new")).work_ms
    assert new == pytest.approx(known, rel=0.2)


def test_a_tenant_whose_tasks_are_longer_is_learned_within_a_few() -> None:
    costs = taught(generations(Random(1)))
    theirs = CHAT._replace(tenant="writers")
    for _ in range(24):
        costs.learn(theirs, Spent(MS_PER_TOKEN * 900, 4 * MS_PER_TOKEN * 900, 900))
    assert tokens_in(costs.expect(theirs).work_ms, theirs) > 500
    assert tokens_in(costs.expect(CHAT).work_ms, CHAT) < 100


def test_larger_tensors_are_expected_to_cost_more_before_any_of_them_was_seen() -> None:
    costs, random = LearnedCost(), Random(1)
    for _ in range(500):
        size = random.randrange(1_000, 8_000)
        costs.learn(Traits("m", "t", 3, size), Spent(size / 100, size / 50))
    assert costs.expect(Traits("m", "t", 3, 64_000)).work_ms == pytest.approx(640.0, rel=0.3)


def test_nine_of_ten_tasks_take_longer_than_the_least_that_is_expected() -> None:
    costs, random = LearnedCost(), Random(1)
    teach(costs, tensors(random), 2000)
    seen = list(islice(tensors(random), 500))
    least_ms = costs.expect(seen[0][0]).least_ms
    assert least_ms > 0
    assert fmean(spent.execute_ms > least_ms for _, spent in seen) > 0.9


def test_no_least_is_claimed_while_few_were_seen() -> None:
    costs = LearnedCost()
    teach(costs, tensors(Random(1)), 40)
    assert costs.expect(Traits("digits", "acme", 3, 3200)).least_ms == 0.0


def test_now_and_then_no_least_is_claimed_so_that_a_task_finds_out_whether_it_holds() -> None:
    costs = taught(tensors(Random(1)))
    traits = Traits("digits", "acme", 3, 3200)
    claims = [costs.expect(traits).least_ms for _ in range(1000)]
    assert 8 <= claims.count(0.0) <= 20


@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_after_a_drift_of_the_model_the_error_recovers_within_a_hundred_tasks(factor: float) -> None:
    random = Random(1)
    costs = taught(tensors(random))
    drifted = tensors(random, work_ms=2.0 * factor)
    assert error(costs, drifted, 50, lambda spent: spent.work_ms) > 0.6
    teach(costs, drifted, 100)
    assert error(costs, drifted, 100, lambda spent: spent.work_ms) < 0.25


@pytest.mark.parametrize(("factor", "longer"), [(5.0, 1.0), (0.2, 1.0), (1.0, 4.0), (1.0, 0.25)])
def test_after_a_drift_of_a_language_model_or_its_answers_the_error_recovers_within_a_few_hundred_tasks(
    factor: float, longer: float
) -> None:
    random = Random(1)
    costs = taught(generations(random))
    drifted = generations(random, factor=factor, longer=longer)
    assert error(costs, drifted, 200, lambda spent: spent.work_ms) > 0.6
    teach(costs, drifted, 300)
    fresh = taught(generations(Random(2), factor=factor, longer=longer))
    best = error(fresh, drifted, 400, lambda spent: spent.work_ms)
    assert error(costs, drifted, 400, lambda spent: spent.work_ms) < best + 0.15


def test_one_task_that_took_a_thousand_times_as_long_changes_little() -> None:
    costs = taught(tensors(Random(1)))
    traits = Traits("digits", "acme", 3, 3200)
    before = costs.expect(traits).work_ms
    teach(costs, iter([(traits, Spent(2_000_000.0, 2_000_000.0))]), 1)
    teach(costs, tensors(Random(2)), 100)
    assert costs.expect(traits).work_ms < 2 * before


def test_shortest_first_by_learned_cost_orders_nearly_as_well_as_by_true_cost() -> None:
    random = Random(1)
    costs = taught(generations(random, sigma=0.3))
    waiting = list(islice(generations(random, sigma=0.3), 1000))

    first_in = mean_wait_ms(waiting, lambda _: 0.0)
    learned = mean_wait_ms(waiting, lambda traits: costs.expect(traits).work_ms)
    true = {id(traits): spent.work_ms for traits, spent in waiting}
    clairvoyant = mean_wait_ms(waiting, lambda traits: true[id(traits)])
    assert learned < 1.25 * clairvoyant
    assert learned < 0.7 * first_in


def test_where_lengths_are_hard_to_tell_learned_costs_order_as_well_as_their_true_means() -> None:
    random = Random(1)
    costs = taught(generations(random))
    waiting = list(islice(generations(random), 1000))

    def mean_of(traits: Traits) -> float:
        tokens = CHAT_TOKENS if traits.kind == "chat" else REPORT_TOKENS
        return MS_PER_BYTE * traits.input_size + MS_PER_TOKEN * 1.2 * tokens

    learned = mean_wait_ms(waiting, lambda traits: costs.expect(traits).work_ms)
    assert learned < 1.03 * mean_wait_ms(waiting, mean_of)


def test_a_million_labels_take_no_more_memory_than_a_few_thousand() -> None:
    costs = LearnedCost()
    assert max(MOST_CELLS, MOST_CONTEXTS, MOST_MODELS, MOST_USUAL) <= 8192
    sizes = []
    for number in range(4 * MOST_CELLS):
        traits = Traits(f"m{number % 500}", f"t{number % 3000}", 3, 100, 16, f"label {number}")
        costs.expect(traits)
        costs.learn(traits, Spent(1.0, 2.0, 3))
        if number % MOST_CELLS == MOST_CELLS - 1:
            sizes.append(entries(costs))
    assert sizes[-1] == sizes[-2] <= 2 * (MOST_CELLS + MOST_MODELS) + MOST_CONTEXTS + MOST_USUAL


def entries(costs: LearnedCost) -> int:
    tables = [value for value in vars(costs).values() if hasattr(value, "__len__")]
    assert len(tables) == 5
    return sum(map(len, tables))


def test_tenants_who_are_there_are_remembered_while_another_makes_labels_up() -> None:
    costs = taught(generations(Random(1)))
    before = costs.expect(REPORT).work_ms
    for number in range(20_000):
        if number % 50 == 0:
            teach(costs, generations(Random(number)), 1)
        flood = Traits("lm", "flood", 3, 100, 2048, f"label {number}")
        costs.learn(flood, Spent(MS_PER_TOKEN, MS_PER_TOKEN, 1))
    assert costs.expect(REPORT).work_ms == pytest.approx(before, rel=0.3)


def test_what_is_usual_is_told_by_model_tenant_and_level() -> None:
    random = Random(1)
    costs = taught(tensors(random))
    teach(costs, tensors(random, work_ms=50.0, model="faces"), 500)
    usual = {(row.model, row.tenant, row.level): row for row in costs.usual(10)}
    assert set(usual) == {(m, t, level) for m in ("digits", "faces") for t, level in (("", 0), ("acme", 3))}
    digits = usual["digits", "acme", 3]
    assert digits.expected.work_ms == pytest.approx(2.0, rel=0.1)
    assert digits.expected.execute_ms == pytest.approx(16.0, rel=0.1)
    # Quartiles of a lognormal with sigma 0.2.
    assert digits.spread == pytest.approx(1.14, rel=0.1)
    assert [row.model for row in costs.usual(2)] == ["digits", "digits"]


def mixed(random: Random, slower: Callable[[], float]) -> Stream:
    """Tasks of which one in five is ten times as long, told apart by their kind; a machine makes them slower."""
    while True:
        kind, work_ms = ("long", 20.0) if random.random() < 0.2 else ("short", 2.0)
        tenant = random.choice(("acme", "umbrella"))
        spent_ms = work_ms * random.lognormvariate(0.0, 0.1) * slower()
        yield Traits("digits", tenant, 3, 100, kind=kind), Spent(spent_ms, spent_ms)


MIXED_MS = 0.2 * 20.0 + 0.8 * 2.0


def usual_ms(costs: LearnedCost, tenant: str = "", level: int = 0) -> float:
    return next(row.expected.work_ms for row in costs.usual(10) if (row.tenant, row.level) == (tenant, level))


def test_what_is_usual_of_a_mix_does_not_jump_when_one_kind_drifts() -> None:
    random = Random(3)
    costs = LearnedCost()
    # Neighbours on the machine make it slower and faster, which every kind of every tenant notices by itself.
    teach(costs, mixed(random, lambda: 1.0), 600)
    for slower in [1.5, 0.8, 1.4, 0.7, 1.0] * 5:
        teach(costs, mixed(random, lambda slower=slower: slower), 100)  # type: ignore[misc]
        assert 0.6 * MIXED_MS < usual_ms(costs) < 1.6 * MIXED_MS


def test_a_dozen_tasks_that_happened_to_be_short_do_not_make_a_tenant_a_quick_one() -> None:
    random = Random(6)
    costs = LearnedCost()
    teach(costs, mixed(random, lambda: 1.0), 1000)
    for _ in range(12):
        costs.learn(Traits("digits", "lucky", 3, 100, kind="short"), Spent(2.0, 2.0))
        costs.learn(Traits("digits", "heavy", 3, 100, kind="huge"), Spent(300.0, 300.0))
    assert usual_ms(costs, "lucky", 3) > 0.6 * MIXED_MS
    assert usual_ms(costs, "heavy", 3) == pytest.approx(300.0, rel=0.25)


def test_what_is_usual_follows_a_model_that_becomes_slower_for_all_tenants_alike() -> None:
    random = Random(4)
    costs = LearnedCost()
    teach(costs, mixed(random, lambda: 1.0), 3000)
    for tenant, level in (("", 0), ("acme", 3), ("umbrella", 3)):
        assert usual_ms(costs, tenant, level) == pytest.approx(MIXED_MS, rel=0.25)
    teach(costs, mixed(random, lambda: 4.0), 300)
    for tenant, level in (("", 0), ("acme", 3), ("umbrella", 3)):
        assert usual_ms(costs, tenant, level) == pytest.approx(4 * MIXED_MS, rel=0.4)


def test_the_same_tasks_always_teach_the_same() -> None:
    one, other = (taught(generations(Random(7)), 500) for _ in range(2))
    for traits, _ in islice(generations(Random(8)), 100):
        assert one.expect(traits) == other.expect(traits)


def test_numbers_that_mean_nothing_do_no_harm() -> None:
    costs = taught(tensors(Random(1)))
    traits = Traits("digits", "acme", 3, 3200)
    before = costs.expect(traits).work_ms
    for value in (float("nan"), float("inf"), -1.0, 0.0, sys.float_info.max):
        costs.learn(traits, Spent(value, value))
    teach(costs, tensors(Random(2)), 200)
    assert costs.expect(traits).work_ms == pytest.approx(before, rel=0.5)
