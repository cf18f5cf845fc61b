"""Two hundred worlds, and that a world can be run again exactly as it was."""

import io
import os
import subprocess

import pytest

from tests.simulation.campaign import campaign, replaying

SEEDS = 200


@pytest.mark.timeout(120)
def test_every_world_keeps_every_promise() -> None:
    out = io.StringIO()
    tally = campaign(0, SEEDS, os.cpu_count() or 1, out)
    assert not tally.bad, out.getvalue()
    assert tally.seeds == SEEDS
    assert tally.tasks > SEEDS


@pytest.mark.timeout(60)
def test_a_world_is_the_same_one_each_time() -> None:
    def digests(first: int, seeds: int) -> list[str]:
        command, environment = replaying("--digests", "--first", str(first), "--seeds", str(seeds))
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return run.stdout.splitlines()

    # Also when others ran before it in the same process.
    worlds = digests(0, 30)
    assert digests(0, 30) == worlds
    assert digests(20, 10) == worlds[20:]
