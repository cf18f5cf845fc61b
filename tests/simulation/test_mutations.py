"""The simulation can fail: each sabotage of the system breaks a promise, and it notices, mostly within a few seeds.

The world that noticed a sabotage before is tried first, then the others from the first one on.
"""

import os
import subprocess
from contextlib import ExitStack

import pytest

from tests.simulation.campaign import replaying
from tests.simulation.noticed_before import NOTICED_BEFORE
from tests.simulation.sabotage import SABOTAGES

MOST_SEEDS = 2000
"""Seeds within which every sabotage must be noticed."""

Noticed = dict[str, tuple[int, str]]


@pytest.fixture(scope="module")
def noticed() -> Noticed:
    """In which world each sabotage was noticed, and by what."""
    names, jobs = sorted(SABOTAGES), os.cpu_count() or 1
    workers = []
    found: Noticed = {}
    with ExitStack() as stack:
        for job in range(jobs):
            command, environment = replaying("--seeds", str(MOST_SEEDS), "--sabotage", *names[job::jobs])
            worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            workers.append(stack.enter_context(worker))
            stack.callback(worker.kill)
        for worker in workers:
            said, _ = worker.communicate()
            for line in said.splitlines():
                name, seed, fault = line.split("\t", 2)
                found[name] = int(seed), fault
    return found


def test_the_worlds_to_try_first_are_those_of_sabotages_and_within_reach() -> None:
    assert set(NOTICED_BEFORE) <= set(SABOTAGES)
    assert all(0 <= seed < MOST_SEEDS for seed in NOTICED_BEFORE.values())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", sorted(SABOTAGES))
def test_the_simulation_notices(name: str, noticed: Noticed) -> None:
    assert name in noticed, f"{name} went unnoticed in {MOST_SEEDS} seeds"
    seed, fault = noticed[name]
    print(f"{name}: seed {seed}: {fault}")  # noqa: T201  # which world noticed it
