"""One world: servers in memory, gateways, schedulers, runners and agents as processes, and what befalls them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from inference.runner.held import Held
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import ForebayError, RecordsUnavailable, ServerUnavailable
from scheduler.lanes import queue_lanes
from scheduler.service.settings import SchedulerSettings
from scheduler.states import Level
from tests.simulation import agents
from tests.simulation.client import Clients
from tests.simulation.executor import SimulatedExecutor
from tests.simulation.gateways import SimulatedGateway, Use
from tests.simulation.history import History
from tests.simulation.log import SimulatedLog
from tests.simulation.network import Network
from tests.simulation.processes import Process, StoreClock
from tests.simulation.runners import SimulatedRunner
from tests.simulation.schedulers import SimulatedScheduler
from tests.simulation.streams import Switchboard
from tests.simulation.virtual_time import VirtualLoop, settle
from tests.simulation.weather import Weather

LANES: Final = 2
SETTINGS: Final = SchedulerSettings(
    window_per_lane=3, lease_ms=3_000, sweep_s=0.5, recheck_s=0.5, republish_after_ms=1_500, grace_s=1.0
)
PATIENCE_S: Final = 2.5
"""How long a client waits for a gateway."""
BACK_S: Final = 0.6
"""Longest time after which a dead process is started again."""

Actor = SimulatedGateway | SimulatedScheduler | SimulatedRunner


@dataclass(eq=False)
class Post:
    """A program that somebody starts again whenever it ends."""

    name: str
    make: Callable[[Process], Actor]
    lives: int = 0
    actor: Actor | None = None

    @property
    def process(self) -> Process | None:
        """The present life, if it lives."""
        actor = self.actor
        return None if actor is None or actor.process.dead else actor.process


@dataclass(eq=False)
class World:
    """Everything that there is. `note` writes the trace."""

    loop: VirtualLoop
    rng: Random
    weather: Weather
    runners: int
    note: Callable[..., None]
    gateways: int = 2
    schedulers: int = 2
    capacity: int = 3
    posts: list[Post] = field(default_factory=list)
    healed: bool = False
    errors: list[BaseException] = field(default_factory=list)
    """What ended processes that should not have ended."""
    deaths: list[tuple[int, list[str]]] = field(default_factory=list)
    """When runners died, by the store's clock, and what they held."""

    def __post_init__(self) -> None:
        self.clock = StoreClock(self.loop)
        self.store = MemoryStore(self.clock)
        self.log = SimulatedLog(self.rng)
        self.log.habits(self.weather.duplicate, self.weather.reorder)
        self.history = History(self.store, self.clock, self.note, self._condemn)
        self.network = Network(self.loop, self.rng, self.weather, self.history.witness)
        self.network.deaths_left = self.weather.deaths
        self.switchboard = Switchboard(self.network)
        self.clients = Clients(self, self.history, self.clock, self.rng)
        self.lanes = [lane for level in Level for lane in queue_lanes("default", level, LANES)]
        store = self.store
        self.parts: dict[str, object] = {
            "admissions": store.records,
            "leases": store.records,
            "answers": store.answers,
            "outcomes": store.records,
            "queries": store.records,
            "sweeps": store.sweeps,
            "follow_ups": store.follow_ups,
            "dead_letters": store.dead_letters,
            "schedules": store.schedules,
            "pauses": store.pauses,
            "policies": store.policies,
            "wanted_models": store.wanted_models,
            "lines": store.lines,
            "keys": store.keys,
            "shelves": store.shelves,
            "walk": store.walk,
            "membership": store.membership,
            "time": store.time,
        }
        self.posts += [Post(f"gateway-{number}", self._gateway) for number in range(self.gateways)]
        self.posts += [Post(f"scheduler-{number}", self._scheduler) for number in range(self.schedulers)]
        self.posts += [Post(f"runner-{number}", self._runner) for number in range(self.runners)]

    def _condemn(self) -> None:
        self.loop.condemned = True

    # Processes.

    def start(self, post: Post) -> None:
        """Begin the next life of a program."""
        if post.process is not None:
            return
        post.lives += 1
        process = Process(self.loop, post.name if post.lives == 1 else f"{post.name}.{post.lives}")
        self.note("start", process.name)
        process.at_death.append(lambda: self._died(post, process))
        post.actor = actor = post.make(process)
        process.spawn(self._live(actor))

    async def _live(self, actor: Actor) -> None:
        """Run a program to its end; one that ends because a server is away is started again."""
        try:
            await actor.main()
        except BaseExceptionGroup as group:
            _, rest = group.split(ServerUnavailable)
            if rest is not None:
                self._crashed(actor.process, rest)
        except ServerUnavailable:
            pass
        except Exception as error:
            self._crashed(actor.process, error)
        actor.process.kill()

    def _crashed(self, process: Process, error: BaseException) -> None:
        if self.loop.is_closed():
            return
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.note("crashed", process.name, repr(error))
        self.history.breach(process.name, f"ended with {error!r}")
        self.errors.append(error)

    def _died(self, post: Post, process: Process) -> None:
        self.note("death", process.name)
        if isinstance(actor := post.actor, SimulatedRunner) and not actor.stop.is_set():
            self._mourn(actor)
        delay_s = BACK_S * self.rng.random()
        self.loop.at(delay_s, self.start, post)

    def _mourn(self, actor: SimulatedRunner) -> None:
        executing, waiting = actor.executor.executing(), actor.executor.waiting()
        held = actor.workload.held() if actor.workload is not None else ()
        self.deaths.append((self.clock.true_ms(), [one.id for one in held]))
        inside = {one.key for one in executing}
        rest = [one for one in (*waiting, *held) if one.key not in inside]
        unique = list({one.key: one for one in rest}.values())
        alone = executing or unique
        if len(alone) == 1:
            self.history.suspects.add((alone[0].id, alone[0].attempt))
        if alone and self.rng.random() < 0.7:
            agent = Process(self.loop, "agent")
            self.loop.at(0.02 + 0.3 * self.rng.random(), self._report, agent, executing, unique)

    def _report(self, agent: Process, executing: list[Held], waiting: list[Held]) -> None:
        self.note("report", [one.key for one in executing], [one.key for one in waiting])
        agent.spawn(agents.report(agent, self.network, self.store.sweeps, executing, waiting))

    def _gateway(self, process: Process) -> Actor:
        return SimulatedGateway(process, self.network, self.parts, self.log.publisher(), LANES)

    def _scheduler(self, process: Process) -> Actor:
        return SimulatedScheduler(
            process,
            self.network,
            self.parts,
            self.store,
            self.log,
            self.switchboard,
            SETTINGS,
            self.lanes,
            LANES,
            self.history.acknowledged,
        )

    def _runner(self, process: Process) -> Actor:
        executor = SimulatedExecutor(
            process,
            self.capacity,
            lambda held, among: self.history.began(process.name, held, among),
            process.kill,
        )
        return SimulatedRunner(
            process,
            self.network,
            self.store.records,
            self.store.membership,
            executor,
            credits=2 * self.capacity,
            grace_s=1.0,
        )

    # Clients.

    async def ask(self, use: Use) -> Any:
        """Have one of the gateways do something. Raises ServerUnavailable: done or not, who knows."""
        post = self.rng.choice([post for post in self.posts if post.name.startswith("gateway")])
        answer: asyncio.Future[Any] = self.loop.create_future()
        self.loop.at(self.network.delay_s(), self._receive, post, use, answer)
        self.loop.at(PATIENCE_S, settle, answer, RecordsUnavailable("the gateway did not answer in time"))
        return await answer

    def _receive(self, post: Post, use: Use, answer: "asyncio.Future[Any]") -> None:
        gateway, process = post.actor, post.process
        if process is None or not isinstance(gateway, SimulatedGateway) or gateway.stop.is_set():
            settle(answer, RecordsUnavailable("the gateway is not there"))
        else:
            process.spawn(self._use(gateway, use, answer))

    async def _use(self, gateway: SimulatedGateway, use: Use, answer: "asyncio.Future[Any]") -> None:
        outcome: Any
        try:
            await gateway.ready.wait()
            outcome = await use(gateway)
        except ForebayError as error:
            outcome = error
        except Exception as error:
            self._crashed(gateway.process, error)
            outcome = RecordsUnavailable("the gateway has a fault")
        self.loop.at(self.network.delay_s(), settle, answer, outcome)
