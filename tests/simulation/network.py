"""Calls from processes to the servers that they share, over a network that loses, delays and cuts.

A call is two messages. The server does what the first one says in a moment of its own, whether or not the caller still
lives or listens: that is how a write happens whose writer was told of a time-out, or is dead.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from scheduler.errors import LogUnavailable, RecordsUnavailable
from tests.simulation.processes import Process
from tests.simulation.virtual_time import VirtualLoop, settle
from tests.simulation.weather import Weather

RECORDS: Final = "records"
LOG: Final = "log"
TIMEOUT_S: Final = {RECORDS: 0.4, LOG: 0.6}
LATEST_S: Final = 2.5
"""How long after a caller gave up its request may still be done."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the server saw it."""

    caller: Process
    service: str
    method: str
    args: tuple[Any, ...]


Witness = Callable[[Call, Any], None]
"""Sees every call that a server did, with its answer."""
Deed = Callable[..., Coroutine[Any, Any, Any]]


class Network:
    """Between processes and servers. `deaths` more callers die in the middle of a call."""

    def __init__(self, loop: VirtualLoop, rng: Random, weather: Weather, witness: Witness) -> None:
        self.loop = loop
        self.weather = weather
        self.rng = rng
        self.calls = 0
        self.deaths_left = 0
        self.tell: Callable[[str, Call, Any], None] | None = None
        """Hears of every call, for people."""
        self._witness = witness
        self._names = 0
        self._cut_until: dict[tuple[str, str], float] = {}

    def new_name(self) -> str:
        """Return a name that nothing else in this world has."""
        self._names += 1
        return f"name-{self._names}"

    def healed(self) -> None:
        """Let the sun shine from now on."""
        self.weather = Weather()
        self.deaths_left = 0
        self._cut_until.clear()

    def cut(self, name: str, service: str, seconds: float) -> None:
        """Keep a process, or with an empty name all of them, from a server for so long."""
        self._cut_until[name, service] = self.loop.time() + seconds

    def cut_for(self, process: Process, service: str) -> float:
        """Return the seconds for which a process will not reach a server; 0 when it does."""
        if not self._cut_until:
            return 0.0
        until = max(self._cut_until.get((name, service), 0.0) for name in (process.name, ""))
        return max(0.0, until - self.loop.time())

    def delay_s(self) -> float:
        """Draw how long one message takes."""
        if self.weather.slow and self.rng.random() < self.weather.slow:
            return self.rng.random() * self.weather.slowest_s
        return 0.0002 + 0.002 * self.rng.random()

    async def call(self, process: Process, service: str, deed: Deed, *args: Any, **named: Any) -> Any:
        """Have a server do something. Raises RecordsUnavailable or LogUnavailable: done or not, who knows."""
        loop, rng, weather = self.loop, self.rng, self.weather
        if process.dead:
            raise _unavailable(service)
        self.calls += 1
        answer: asyncio.Future[Any] = loop.create_future()
        call = Call(process, service, deed.__name__, args)
        if self.deaths_left and rng.random() < 0.01:
            self.deaths_left -= 1
            self._die_in(call, deed, named)
            return await answer
        timeout_s = TIMEOUT_S[service]
        draw = rng.random()
        if self.cut_for(process, service):
            loop.at(timeout_s, settle, answer, _unavailable(service))
        elif draw < weather.lost_request:
            loop.at(timeout_s, settle, answer, _unavailable(service))
        elif (draw := draw - weather.lost_request) < weather.lost_reply:
            loop.at(self.delay_s(), self._do, call, deed, named, None)
            loop.at(timeout_s, settle, answer, _unavailable(service))
        elif draw - weather.lost_reply < weather.late_request:
            loop.at(timeout_s, settle, answer, _unavailable(service))
            loop.at(timeout_s + rng.random() * LATEST_S, self._do, call, deed, named, None)
        else:
            loop.at(self.delay_s(), self._do, call, deed, named, answer)
        return await answer

    def _die_in(self, call: Call, deed: Deed, named: dict[str, Any]) -> None:
        """Kill the caller before its request, while that is on its way, or while the answer is."""
        leg = self.rng.randrange(3)
        if leg:
            delay_s = self.delay_s()
            self.loop.at(delay_s, self._do, call, deed, named, None)
            if leg == 2:
                self.loop.at(delay_s + 0.0001, call.caller.kill)
                return
        call.caller.kill()

    def _do(
        self, call: Call, deed: Deed, named: dict[str, Any], answer: "asyncio.Future[Any] | None"
    ) -> None:
        outcome: Any
        try:
            outcome = at_once(deed(*call.args, **named))
        except (RecordsUnavailable, LogUnavailable) as error:
            outcome = error
        else:
            self._witness(call, outcome)
        if self.tell is not None:
            self.tell("answered" if answer else "unheard", call, outcome)
        if answer is not None:
            # A caller that waits longer than its patience hears of a time-out instead.
            delay_s = self.delay_s()
            self.loop.at(delay_s, settle, answer, outcome)


class Client:
    """A process's side of one server: has the methods of all its parts."""

    def __init__(self, network: Network, process: Process, service: str, part: object) -> None:
        self._network = network
        self._process = process
        self._service = service
        self._part = part

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        network, process, service = self._network, self._process, self._service
        deed = getattr(self._part, name)

        def ask(*args: Any, **named: Any) -> Coroutine[Any, Any, Any]:
            return network.call(process, service, deed, *args, **named)

        self.__dict__[name] = ask
        return ask


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, and return what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("a server in memory waits for something")


def _unavailable(service: str) -> RecordsUnavailable | LogUnavailable:
    if service == RECORDS:
        return RecordsUnavailable("the record store did not answer in time")
    return LogUnavailable("the log did not answer in time")
