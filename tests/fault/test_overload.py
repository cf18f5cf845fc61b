"""Ten times what a system can do: what is too much is refused at once, lower levels first, and the rest is done."""

from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from forebay.client import AsyncClient, TaskState
from tests.fault.conftest import SCALE
from tests.overload import LEVELS, capacity, flood, percentile_ms
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150 + 60 * SCALE)]

TURNS = 150_000
"""About 100 ms of work: ten times as many calls leave a small machine time for them."""
TOO_MUCH_PER_S = 50.0
LINE = 20
TIMES = 10
NOISE = 0.02
SECONDS = 6.0
GROWTH_MB = 20.0
WANTED_MS = 50.0
"""What a refusal may take beyond what the machine needs meanwhile for three empty calls: on one that is busy it waits
three times until it is its turn, at the gateway, at the record store that is asked for its key, and at the gateway."""
LONGEST_MS = 250.0
"""And in all, whatever else runs on the machine."""


async def test_ten_times_the_capacity_is_refused_at_once_lower_levels_first_and_what_was_accepted_ends(
    models: dict[str, Path], data: Path
) -> None:
    environment = {
        "FOREBAY_POLICY_LIMITS": f"queued={LINE}",
        # What a runner holds ahead waits no more.
        "FOREBAY_RUNNER_CREDITS": "2",
    }
    with forebay_up(data, {"countdown": models["countdown"]}, environment=environment) as system:
        gateway = psutil.Process(system.pid("gateway"))
        # It also fills what memory is kept for calls at all.
        done_per_s = await capacity(system.grpc, gateway, per_s=TOO_MUCH_PER_S, turns=TURNS, line=LINE)
        per_s = TIMES * done_per_s
        tally = await flood(system.grpc, gateway, per_s=per_s, seconds=SECONDS * SCALE, turns=TURNS)
        assert not tally.unforeseen, tally.unforeseen[:5]

        shares = [tally.refused_share(level) for level in LEVELS]
        assert all(high <= low + NOISE for high, low in pairwise(shares)), (tally.offered, tally.refused)
        assert tally.accepted["critical"] and shares[-1] > 0.8, (tally.offered, tally.refused)
        assert max(tally.depths) <= LINE

        refusal_ms, empty_ms = percentile_ms(tally.refusals_s, 0.99), percentile_ms(tally.empty_s, 0.99)
        assert refusal_ms <= 3 * empty_ms + WANTED_MS and refusal_ms <= LONGEST_MS, (refusal_ms, empty_ms)
        assert all(hint_s > 0 for hint_s in tally.hints_s)
        assert tally.rss_mb[-1] - tally.rss_mb[0] < GROWTH_MB, tally.rss_mb

        async with AsyncClient(system.grpc) as client:
            ended = await client.wait_many(tally.ids(), 60, include_result=False)
        assert {task.state for task in ended} == {TaskState.SUCCEEDED}
