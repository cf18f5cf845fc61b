"""What tasks cost: foretold at intake, learned and corrected when runners settle them."""

import pytest

from forebay.dispatch.v1.dispatch_service_pb2 import Settled
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.adapters.clock import FakeClock
from scheduler.lanes import Lane
from scheduler.policies.expected import UNKNOWN, Expected, Traits
from scheduler.ports.log import Delivery
from scheduler.service.entry import OpenBundle, Waiting
from scheduler.service.learning import ENOUGH, Learning
from scheduler.service.rates import WINDOW_S, Rates
from scheduler.service.traits import traits_of
from scheduler.states import Level

from .costs import Heard, learning_of

LANE = Lane("default", Level.NORMAL, 0)
BUNDLE = OpenBundle(Delivery(LANE, b"", {}, None), 1)


def envelope(**fields: object) -> Envelope:
    return Envelope(id="07-x", model="m", tenant="acme", priority=3, input_size=500, **fields)  # type: ignore[arg-type]


def waiting(expected: Expected = UNKNOWN, tenant: str = "acme") -> Waiting:
    made = envelope()
    return Waiting(made.id, 1, "m", LANE, 0, made, BUNDLE, tenant=tenant, expected=expected)


def settled(
    work_ms: float = -1.0, fate: Settled.Fate.ValueType = Settled.FATE_TERMINAL, *, failed: bool = False
) -> Settled:
    """A report; without a cost for a negative one."""
    item = Settled(id="07-x", attempt=1, fate=fate, failed=failed)
    if work_ms >= 0:
        item.cost.work_us, item.cost.execute_us = int(work_ms * 1000), int(work_ms * 3000)
    return item


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.rates = Rates(self.clock)
        self.heard = Heard()
        self.learning: Learning = learning_of(self.clock, self.rates, self.heard)

    def expected_ms(self) -> float:
        return self.learning.expect("default", envelope()).work_ms


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_traits_are_read_from_the_envelope_as_the_gateway_filled_it() -> None:
    made = envelope(output_limit=64, kind="summary")
    assert traits_of(made) == Traits("m", "acme", 3, 500, 64, "summary")
    assert traits_of(Envelope(model="m", input_size=-5)) == Traits("m", "", 0, 0, 0, "")


def test_what_ended_well_is_learned_from(bench: Bench) -> None:
    bench.learning.settled([(waiting(), settled(40.0))] * 20)
    assert bench.expected_ms() == pytest.approx(40.0, rel=0.1)


def test_what_was_charged_at_the_start_is_corrected_by_what_was_spent(bench: Bench) -> None:
    report = [(waiting(Expected(10.0, 10.0)), settled(ms)) for ms in (12.0, 5.0)]
    report += [(waiting(Expected(10.0, 10.0), "other"), settled(30.0))]
    learned = bench.learning.settled(report)
    assert learned.corrections == {
        ("default", Level.NORMAL, "acme", "m"): pytest.approx(-3.0),
        ("default", Level.NORMAL, "other", "m"): pytest.approx(20.0),
    }
    assert learned.spent_ms == pytest.approx(47.0)
    assert learned.expected_ms == 30.0


def test_a_task_that_was_not_executed_gets_its_charge_back(bench: Bench) -> None:
    learned = bench.learning.settled([(waiting(Expected(10.0, 10.0)), settled(fate=Settled.FATE_RETURNED))])
    assert learned.corrections == {("default", Level.NORMAL, "acme", "m"): -10.0}
    assert learned.spent_ms == 0.0


def test_a_cancelled_task_stays_charged(bench: Bench) -> None:
    assert not bench.learning.settled([(waiting(Expected(10.0, 10.0)), settled())]).corrections


@pytest.mark.parametrize(
    "item",
    [
        settled(9000.0, failed=True),
        settled(9000.0, Settled.FATE_FENCED),
        settled(9000.0, Settled.FATE_RETURNED),
    ],
)
def test_what_went_wrong_or_was_broken_off_is_charged_and_not_learned_from(
    bench: Bench, item: Settled
) -> None:
    learned = bench.learning.settled([(waiting(), item)] * 30)
    assert learned.corrections["default", Level.NORMAL, "acme", "m"] == pytest.approx(30 * 8999.0)
    assert learned.spent_ms == 0.0
    assert bench.expected_ms() < 10.0
    assert not bench.heard.ratios


def test_of_a_long_report_only_a_part_is_learned_from_and_all_of_it_is_corrected(bench: Bench) -> None:
    learned = bench.learning.settled([(waiting(), settled(3.0))] * 20 * ENOUGH)
    assert learned.corrections["default", Level.NORMAL, "acme", "m"] == pytest.approx(20 * ENOUGH * 2.0)
    assert len(bench.heard.ratios["m"]) == ENOUGH


def test_errors_are_told_as_what_was_spent_by_what_was_expected(bench: Bench) -> None:
    bench.learning.settled([(waiting(Expected(10.0, 10.0)), settled(25.0))])
    assert bench.heard.ratios == {"m": [pytest.approx(2.5)]}


def test_the_work_that_was_done_is_counted_by_queue_and_by_model(bench: Bench) -> None:
    bench.learning.settled([(waiting(), settled(250.0))] * 40)
    assert bench.rates.work_per_second("default", Level.NORMAL) == pytest.approx(10_000 / WINDOW_S)
    # The present second has only just begun.
    assert bench.rates.model_work_per_second("default", "m") == pytest.approx(10_000 / (WINDOW_S - 1))


def test_the_tasks_of_a_bundle_are_foretold_as_each_of_them_would_be(bench: Bench) -> None:
    bench.learning.settled([(waiting(), settled(40.0))] * 20)
    bundle = [envelope(), envelope(), envelope(kind="other", output_limit=9), Envelope(model="n"), envelope()]
    found = bench.learning.expect_all("default", bundle)
    assert [traits for traits, _ in found] == [traits_of(each) for each in bundle]
    assert [expected for _, expected in found] == [bench.learning.expect("default", each) for each in bundle]
    assert found[0] is found[1] is found[4]
