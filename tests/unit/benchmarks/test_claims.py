"""What is claimed of the policies, in a short form: the long one is `python -m benchmarks.scheduling`."""

import pytest

from benchmarks.scheduling import claims

SEED = 1
SCALES: dict[claims.Claim, float] = {
    claims.levels: 0.05,
    claims.shares: 0.05,
    claims.tenants: 0.03,
    claims.lengths: 0.15,
    claims.deadlines: 0.1,
    claims.flood: 0.03,
    claims.ageing: 0.05,
}


@pytest.mark.parametrize("claim", SCALES, ids=lambda claim: claim.__name__)
def test_what_is_claimed_holds(claim: claims.Claim) -> None:
    bars = [bar for finding in claim(SEED, SCALES[claim]) for bar in finding.bars]
    assert bars and [bar for bar in bars if not bar.met] == []


def test_every_claim_is_looked_at() -> None:
    """The others have no bars."""
    assert set(claims.CLAIMS) - set(SCALES) == {claims.bursts, claims.secrets}
