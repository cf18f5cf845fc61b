"""Laws of policies: what may stand comes back from the wire as it was, and what may not stand never does."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.queues.v1 import queue_service_pb2
from scheduler.errors import InvalidInput, StartupRefused
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Limit, Policy, Routing, TaskOrder
from scheduler.policies.policy_rules import faults_of
from scheduler.states import Level
from services.policy_on_wire import from_wire, restored, stored, to_wire
from services.policy_settings import PolicySettings
from services.policy_texts import limit_text, read_limit

quick = settings(max_examples=100, deadline=None)


def seconds(least: float, most: float) -> st.SearchStrategy[float]:
    """Times to the nanosecond, which is what the wire holds."""
    return st.integers(int(least * 1e9), int(most * 1e9)).map(lambda nanos: nanos / 1e9)


weights = st.integers(1, 1_000_000)
names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=12)
shares = st.floats(0, 1_000_000, exclude_min=True)
ageings = st.just(0.0) | seconds(1, 604_800)


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    whose: dict[str, Any] = draw(
        st.sampled_from([{}, {"shared": True}]) | names.map(lambda name: {"tenant": name})
    )
    bounds: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"rate": st.floats(1e-6, 1_000_000)},
            optional={
                "queued_tasks": st.integers(0, 1 << 62),
                "queued_work_s": seconds(0, 1e6),
                "burst": st.integers(0, 1_000_000),
            },
        )
    )
    return Limit(level=draw(st.integers(0, 4)), **whose, **bounds)


lists_of_limits = st.lists(limits(), max_size=5, unique_by=lambda one: one[:3]).map(tuple)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    mode = draw(st.sampled_from(LevelMode))
    return Policy(
        level_mode=mode,
        weights={level: draw(weights) for level in Level},
        ageing_s=draw(ageings if mode is LevelMode.WEIGHTED else seconds(1, 604_800)),
        ageing_every=draw(st.integers(2, 1000)),
        order=draw(st.sampled_from(TaskOrder)),
        stretch=draw(st.floats(0, 1000)),
        patience_s=draw(seconds(1, 604_800)),
        express_slack_s=draw(seconds(0, 86_400)),
        expire_early=draw(st.booleans()),
        tenant_weights=draw(st.dictionaries(names, shares, max_size=5)),
        limits=draw(lists_of_limits),
        routing=draw(st.dictionaries(names | st.just(""), st.sampled_from(Routing), max_size=5)),
        cost_label=draw(st.text(max_size=63)),
    )


@quick
@given(policies())
def test_a_policy_that_may_stand_comes_back_as_it_went(policy: Policy) -> None:
    assert faults_of(policy) == []
    assert from_wire(to_wire(policy)) == (policy, [])
    assert restored(stored(policy)) == policy


@quick
@given(
    st.binary(max_size=200) | policies().map(stored).flatmap(lambda body: st.sampled_from([body, body[1:]]))
)
def test_bytes_mean_a_policy_that_may_stand_or_are_refused(body: bytes) -> None:
    try:
        policy = restored(body)
    except InvalidInput as refusal:
        assert refusal.faults
    else:
        assert faults_of(policy) == []


numbers = st.floats() | st.integers(-(1 << 70), 1 << 70)
whole = st.integers(-(1 << 31), (1 << 31) - 1)


@quick
@given(
    policies(),
    st.fixed_dictionaries(
        {},
        optional={
            "weights": st.dictionaries(st.sampled_from(Level), whole),
            "ageing_s": numbers,
            "ageing_every": whole,
            "stretch": numbers,
            "patience_s": numbers,
            "express_slack_s": numbers,
            "tenant_weights": st.dictionaries(st.text(), numbers, max_size=3),
            "limits": st.lists(
                st.builds(
                    Limit, st.text(), st.integers(-1, 6), st.booleans(), numbers, numbers, numbers, numbers
                ),
                max_size=3,
            ).map(tuple),
            "routing": st.dictionaries(st.text(), st.sampled_from(Routing), max_size=3),
        },
    ),
)
def test_whatever_is_changed_a_policy_is_within_the_contract_or_has_faults_that_name_its_fields(
    policy: Policy, change: dict[str, Any]
) -> None:
    changed = replace(policy, **change)
    fields = {field.name for field in queue_service_pb2.Policy.DESCRIPTOR.fields}
    for path, sentence in faults_of(changed):
        assert sentence
        assert path.split(".")[0].split("[")[0] in fields
    if not faults_of(changed):
        assert 1 <= min(changed.weights.values()) <= max(changed.weights.values()) <= 1_000_000
        assert set(changed.weights) == set(Level)
        assert changed.ageing_s == 0 or 1 <= changed.ageing_s <= 604_800
        assert 0 <= changed.stretch <= 1000
        assert all(weight > 0 for weight in changed.tenant_weights.values())
        assert all(one.queued_tasks or one.queued_work_s or one.rate for one in changed.limits)


@quick
@given(limits())
def test_a_limit_is_read_as_it_is_written(limit: Limit) -> None:
    assert read_limit(limit_text(limit)) == limit


@quick
@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3), st.text(), numbers)
def test_settings_make_a_policy_that_may_stand_or_are_refused(
    given_limits: list[str], pairs: list[str], word: str, number: Any
) -> None:
    written = PolicySettings(
        order=word,
        stretch=number,
        limits=tuple(given_limits),
        tenant_weights=tuple(pairs),
        routing=tuple(pairs),
    )
    for one in (written, replace(written, order="fifo"), PolicySettings(stretch=number)):
        try:
            policy = one.to_policy()
        except StartupRefused as refusal:
            assert str(refusal).startswith("setting policy.")
        else:
            assert faults_of(policy) == []
            assert restored(stored(policy)) == replace(policy, stretch=float(policy.stretch))


def test_the_default_may_stand() -> None:
    assert faults_of(DEFAULT_POLICY) == []
