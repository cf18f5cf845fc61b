"""The log as a world has it: duplicates and disorder by seed, and consumers that lose their connection."""

from collections.abc import Callable, Sequence
from random import Random

from scheduler.adapters.memory.log import MemoryConsumer, MemoryLog
from scheduler.lanes import Lane
from scheduler.ports.log import Delivery
from tests.simulation.network import LOG, Network
from tests.simulation.processes import Process


class SimulatedLog(MemoryLog):
    """MemoryLog with bad habits."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.rng = rng
        self.duplicate = 0.0
        self.reorder = 0.0

    def habits(self, duplicate: float, reorder: float) -> None:
        """Deliver that part of the messages twice, and that part in another order."""
        self.duplicate, self.reorder = duplicate, reorder

    def connected(self, consumer: MemoryConsumer) -> bool:
        """Whether a consumer is one of those that share the lanes."""
        return consumer in self._consumers

    def reconnect(self, consumer: MemoryConsumer) -> None:
        """Take a consumer back that had lost its connection."""
        self._consumers.append(consumer)
        self._divide()

    def disturb(self, lane: Lane, delivery: Delivery) -> None:
        """Let other messages overtake each other, and this one come again."""
        waiting = self.partition(lane).waiting
        if len(waiting) > 1 and self.rng.random() < self.reorder:
            waiting.rotate(self.rng.randrange(len(waiting)))
        if self.rng.random() < self.duplicate:
            message = self.partition(lane).unacknowledged.get(delivery.token)  # type: ignore[call-overload]
            if message is not None:
                waiting.insert(self.rng.randint(0, len(waiting)), message)


class ConsumerClient:
    """A LogConsumer in a process: acknowledgements travel, and the broker notices when the process is gone."""

    def __init__(
        self,
        network: Network,
        process: Process,
        log: SimulatedLog,
        lanes: Sequence[Lane],
        acknowledged: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self._network = network
        self._process = process
        self._log = log
        self._inner = log.consumer(lanes)
        self._acknowledged = acknowledged
        process.at_death.append(lambda: network.loop.at(0.01, self.lose))

    async def receive(self, lane: Lane) -> Delivery:
        delivery = await self._inner.receive(lane)
        self._log.disturb(lane, delivery)
        return delivery

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        await self._network.call(self._process, LOG, self._acknowledge, deliveries)

    async def _acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._acknowledged(deliveries)
        await self._inner.acknowledge(deliveries)

    async def close(self) -> None:
        self.lose()

    def lose(self) -> None:
        """Lose the connection: others get the lanes, with all that was not acknowledged."""
        if self._log.connected(self._inner):
            self._log.disconnect(self._inner)

    def find(self) -> None:
        """Be back."""
        if not self._process.dead and not self._log.connected(self._inner):
            self._log.reconnect(self._inner)
