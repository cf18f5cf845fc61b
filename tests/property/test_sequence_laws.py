"""Laws of sequences: whatever is called, cancelled and run, in whatever order, each call goes on from the calls of its
own sequence before it, and from nothing else.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine import Failed, SequencePlace, TensorRequest, Update
from inference.repository.definition import DynamicBatching, Sequences, StateDefinition
from inference.tensor.engine import TensorEngine
from scheduler.errors import SequenceUnknown
from tests.unit.inference.tensor import onnx_models
from tests.unit.inference.tensor.definitions import declared, opened, outputs, row
from tests.unit.inference.tensor.test_sequences import CONTROLS

SEQUENCES = 2
states = (StateDefinition("before", "after", "FP32", (2,)),)
definition = declared(
    8, sequences=Sequences(states, CONTROLS, longest_idle_s=1e9, most=10_000), batching=DynamicBatching()
)
examples = itertools.count()
sometimes = st.sampled_from([False, False, False, True])
seldom = st.sampled_from([*[False] * 9, True])
calling = st.tuples(st.just("call"), st.integers(0, SEQUENCES - 1), sometimes, seldom)
cancelling = st.tuples(st.just("cancel"), st.integers(0, 9), st.just(False), st.just(False))
stepping = st.tuples(st.just("step"), st.just(0), st.just(False), st.just(False))
# More calls than steps: what goes wrong does so where calls wait behind each other.
deeds = st.lists(st.one_of(calling, calling, calling, cancelling, stepping), max_size=30)


@dataclass(frozen=True)
class Call:
    number: int
    start: bool
    end: bool
    cancelled: bool = False


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorEngine]:
    made = opened(onnx_models.accumulator(tmp_path_factory.mktemp("model") / "sums.onnx"), definition)
    yield made
    made.close()


def expected(calls: list[Call]) -> dict[int, int | None]:
    """Return what each call of one sequence gets: the sum so far, None when its sequence is unknown."""
    told: dict[int, int | None] = {}
    total: int | None = None
    for call in calls:
        if call.start:
            total = 0
        if call.cancelled:
            total = None if call.start else total
            continue
        if total is not None:
            total += call.number
        told[call.number] = total
        if call.end:
            total = None
    return told


def drain(engine: TensorEngine) -> None:
    while engine.active:
        engine.step()


def got(update: Update) -> int | None:
    if isinstance(update, Failed):
        assert isinstance(update.error, SequenceUnknown)
        return None
    return int(outputs(update)["sum"][0, 0])


@pytest.mark.timeout(60)
@settings(max_examples=100, deadline=None)
@given(deeds=deeds)
def test_each_call_goes_on_from_those_of_its_sequence_before_it(
    engine: TensorEngine, deeds: list[tuple[str, int, bool, bool]]
) -> None:
    # What an example before this one left when it failed.
    drain(engine)
    tenant = str(next(examples))
    calls: dict[int, list[Call]] = {sequence: [] for sequence in range(SEQUENCES)}
    whose: dict[int, int] = {}
    told: dict[int, int | None] = {}

    def step() -> None:
        updates = engine.step()
        ran = [int(update.key) for update in updates if not isinstance(update, Failed)]
        of = [whose[number] for number in ran]
        assert len(set(of)) == len(of), "two calls of one sequence shared a run"
        told.update((int(update.key), got(update)) for update in updates)

    for number, (deed, which, start, end) in enumerate(deeds, 1):
        if deed == "step":
            step()
        elif deed == "cancel":
            here = [
                at
                for several in calls.values()
                for at in several
                if not at.cancelled and at.number not in told
            ]
            if here:
                call = here[which % len(here)]
                engine.cancel(str(call.number))
                several = calls[whose[call.number]]
                several[several.index(call)] = replace(call, cancelled=True)
        else:
            place = SequencePlace(str(which), start, end)
            request = TensorRequest({"x": row(number, 0)}, tenant=tenant, sequence=place)
            try:
                engine.admit(str(number), request)
            except SequenceUnknown:
                assert expected([*calls[which], Call(number, start, end)])[number] is None
            else:
                calls[which].append(Call(number, start, end))
                whose[number] = which
    while engine.active:
        step()
    for several in calls.values():
        wanted = expected(several)
        assert {number: told[number] for number in wanted} == wanted
    assert len(told) == sum(not call.cancelled for several in calls.values() for call in several)
