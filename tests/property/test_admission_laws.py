"""Laws of what is let in: no bucket gives more than its rate, and no limit lets more wait than it says."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.admission import Limiter, TokenBucket, Waiting, Wanted
from scheduler.policies.policy import Limit
from scheduler.states import Level

quick = settings(max_examples=100, deadline=None)

LEVELS = [int(level) for level in Level]
steps_s = st.floats(-1.0, 10.0, allow_nan=False)


@quick
@given(
    st.floats(0.01, 1000.0),
    st.integers(1, 100),
    st.lists(st.tuples(steps_s, st.integers(0, 50)), max_size=60),
)
def test_a_bucket_never_gives_more_than_its_rate_times_the_time_and_its_burst(
    rate: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    start_s = now_s = latest_s = 1000.0
    bucket = TokenBucket(float(burst), start_s)
    given_out = 0
    for step_s, wanted in asked:
        now_s += step_s
        latest_s = max(latest_s, now_s)
        for _ in range(wanted):
            if bucket.fill(rate, float(burst), now_s) < 1.0:
                break
            bucket.take()
            given_out += 1
        assert given_out <= rate * (latest_s - start_s) * (1 + 1e-9) + burst + 1e-6


@quick
@given(
    st.floats(0.1, 100.0),
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.sampled_from(LEVELS), st.integers(1, 40)), max_size=40),
)
def test_a_rate_holds_whatever_levels_come_in_whatever_order(
    rate: float, burst: int, calls: list[tuple[float, int, int]]
) -> None:
    limiter = Limiter()
    limiter.follow([Limit(rate=rate, burst=burst)])
    now_s, let_in = 0.0, 0
    for step_s, level, count in calls:
        now_s += step_s
        decision = limiter.decide("t", [Wanted(level, 1.0)] * count, now_s)
        let_in += decision.refusals.count(None)
        limiter.settle(decision, decision.taken.levels)
        assert let_in <= rate * now_s * (1 + 1e-9) + burst + 1e-6


limits = st.lists(
    st.builds(
        Limit,
        tenant=st.sampled_from(["", "a", "b"]),
        level=st.sampled_from([0, *LEVELS]),
        queued_tasks=st.integers(0, 60),
        queued_work_s=st.sampled_from([0.0, 0.05, 0.5]),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda limit: (limit.tenant, limit.level, limit.shared),
)
calls = st.tuples(
    st.just("call"),
    st.sampled_from(["a", "b"]),
    st.lists(st.sampled_from(LEVELS), max_size=40),
    st.integers(0, 40),
)
"""Who submits tasks of which levels, and how many of those that are let in do not get recorded after all."""
looks = st.tuples(st.just("look"), st.integers(0, 30), st.booleans(), st.integers(0, 20))
"""How many tasks start before it, whether a call comes while it takes place, and how many others let in after it."""


@quick
@given(limits, st.lists(st.one_of(calls, looks), max_size=40))
def test_never_more_waits_than_a_limit_allows_but_for_what_others_let_in_between_two_looks(
    chosen: list[Limit], happenings: list[tuple[str, object, object, object]]
) -> None:
    limiter = Limiter()
    limiter.follow(chosen)
    truth: dict[tuple[str, int], int] = {}
    others = 0

    def call(tenant: str, levels: list[int], lost: int, now_s: float) -> None:
        decision = limiter.decide(tenant, [Wanted(level, 10.0) for level in levels], now_s)
        recorded: dict[int, Waiting] = {}
        for level, waiting in decision.taken.levels.items():
            count = max(0, waiting.tasks - lost)
            recorded[level] = Waiting(count, count * 10.0)
            truth[tenant, level] = truth.get((tenant, level), 0) + count
        limiter.settle(decision, recorded)

    for number, happening in enumerate(happenings):
        match happening:
            case ("call", str(tenant), list(levels), int(lost)):
                call(tenant, levels, lost, float(number))
            case ("look", int(started), bool(meanwhile), int(foreign)):
                for key in truth:
                    truth[key] = max(0, truth[key] - started)
                limiter.backlog.begin_look(float(number))
                seen = [(tenant, level, count, count * 10.0) for (tenant, level), count in truth.items()]
                if meanwhile:
                    call("a", [LEVELS[0]] * 5, 0, float(number))
                limiter.backlog.end_look(seen)
                # What another gateway lets in after this look.
                truth["a", LEVELS[-1]] = truth.get(("a", LEVELS[-1]), 0) + foreign
                others += foreign
        for limit in chosen:
            for tenant in ("a", "b"):
                if limit.tenant not in ("", tenant):
                    continue
                waits = sum(n for (t, lv), n in truth.items() if t == tenant and limit.level in (0, lv))
                if limit.queued_tasks:
                    assert waits <= limit.queued_tasks + others
                if limit.queued_work_s:
                    # A task is let in alone, whatever its work is.
                    assert waits * 10.0 <= max(10.0, limit.queued_work_s * 1000.0) + others * 10.0 + 1e-6
