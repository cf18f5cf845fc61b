"""What is claimed of the policies, in a short form: the long one is `python -m benchmarks.scheduling`."""

import pytest

from benchmarks.scheduling import claims, tables

# Simulations of seconds on an idle machine, and of many on a busy one.
pytestmark = pytest.mark.timeout(90)

SEED = 1
SCALES: dict[str, float] = {
    "levels": 0.05,
    "shares": 0.15,
    "ageing": 0.2,
    "tenants": 0.03,
    "weights": 0.3,
    "lengths": 0.25,
    "deadlines": 0.1,
    "flood": 0.2,
}
LONG_ONLY = {"one_runner"}
"""Its bar is about one in a hundred of a tenth of the tasks: in a short form that is an accident."""
WITHOUT_BARS = {"bursts", "deep_backlogs", "secrets"}
CLAIMS = {claim.__name__: claim for claim in claims.CLAIMS}


@pytest.mark.parametrize("name", SCALES)
def test_what_is_claimed_holds(name: str) -> None:
    bars = [bar for finding in CLAIMS[name](SEED, SCALES[name]) for bar in finding.bars]
    assert bars and [bar for bar in bars if not bar.met] == []


@pytest.mark.parametrize("name", sorted(WITHOUT_BARS))
def test_where_nothing_is_claimed_there_is_a_table(name: str) -> None:
    for finding in CLAIMS[name](SEED, 0.01):
        assert finding.rows and not finding.bars


def test_one_runner_that_pauses_lets_critical_wait_for_less_than_strict_priority_does_without() -> None:
    [finding] = CLAIMS["one_runner"](SEED, 0.05)
    mean = tables.HEAD.index("critical mean")
    waits_s = {row[0]: float(row[mean].removesuffix(" s")) for row in finding.rows}
    assert waits_s["weighted, pauses rows"] < 0.75 * waits_s["strict priority"]
    assert waits_s["weighted"] <= 1.1 * waits_s["strict priority"]


def test_every_claim_is_looked_at() -> None:
    assert CLAIMS.keys() == SCALES.keys() | LONG_ONLY | WITHOUT_BARS
