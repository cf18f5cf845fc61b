"""The soak in its short form; `make soak MINUTES=n` runs it for longer."""

import random

import pytest

from tests.fault.soak import report, soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MINUTES = 0.5


async def test_steady_load_with_random_kills_breaks_no_promise(chance: random.Random) -> None:
    seed = chance.randrange(1 << 32)
    tally = await soak(seed, MINUTES)
    report(tally, seed, MINUTES)
    assert tally.breaches == []
    assert tally.accepted > 500
    assert sum(tally.kills.values()) > 1
