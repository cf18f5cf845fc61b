"""Agents: whoever notices the death of a runner and tells the record store what it was executing."""

from collections.abc import Sequence

from inference.agent.memory_kills import MemoryKills
from inference.agent.post_mortem import PostMortem, deaths_of
from inference.journal import Attempt, Remains
from inference.runner.held import Held
from scheduler.errors import RunnerCrashed
from tests.simulation.network import RECORDS, Client, Network
from tests.simulation.processes import Process


async def report(
    process: Process, network: Network, sweeps: object, executing: Sequence[Held], waiting: Sequence[Held]
) -> None:
    """Tell of a death as the real agent does. It gives up when the store does not answer for long: leases run out."""
    store = Client(network, process, RECORDS, sweeps)
    mortem = PostMortem(store, process.clock, MemoryKills())
    remains = Remains(tuple(map(_attempt, executing)), tuple(map(_attempt, waiting)))
    deaths = deaths_of(remains, blameless=False, new_group=network.new_name)
    if deaths:
        await mortem._tell(deaths, RunnerCrashed("its runner died while it executed the task"))


def _attempt(held: Held) -> Attempt:
    return Attempt(held.id, held.attempt, held.isolation)
