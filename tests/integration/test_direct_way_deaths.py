"""A request that its runner dies of does not kill one runner after the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from forebay.runner.v1.runner_service_pb2 import Answer, Call
from scheduler.errors import DeadlinePassed, ForebayError, RunnerCrashed, RunnerGone
from services.relayed import Relayed
from tests.direct_runners import FakeRunner, Way, echo, refusing, tensor_call, way_to

POISON = b"\7\0\0\0"
PLAIN = b"\1\0\0\0"


@dataclass
class Deaths:
    """A fleet whose runners die of poison; what was given to them together with it dies with it."""

    way: Way
    runners: list[FakeRunner]
    together: int = 1
    """Calls that a runner gathers before it executes them."""
    tried: list[bytes] = field(default_factory=list)
    """Content of everything that runners were given."""

    async def call(self, raw: bytes, tenant: str = "tenant") -> str:
        """Make a call, and return what came of it: "answered", or the reason of the error."""
        wanted = tensor_call(raw=raw, timeout_ms=9_000)
        wanted.tenant = tenant
        try:
            async with asyncio.timeout(10):
                await self.way.calls.call(wanted)
        except ForebayError as error:
            # Whoever died is back before anything else is tried.
            await self.connected()
            return error.reason
        return "answered"

    async def connected(self) -> None:
        fleet = self.way.calls.fleet
        async with asyncio.timeout(10):
            while sum(one.open for one in fleet.group(self.way.calls.model("m")).connections) < len(
                self.runners
            ):
                await fleet.look()
                await asyncio.sleep(0.01)

    def take(self, runner: FakeRunner, held: list[Call], call: Call) -> Answer | None:
        """Execute calls as runners do that gather some."""
        self.tried.append(call.tensors.tensors[0].raw)
        held.append(call)
        if len(held) < self.together and len(self.way.calls) > len(held):
            return None
        batch = held.copy()
        held.clear()
        if any(one.tensors.tensors[0].raw == POISON for one in batch):
            runner.hang_up()
            return None
        runner.send(*(echo(one) for one in batch))
        return None


@asynccontextmanager
async def deaths(count: int = 3, together: int = 1) -> AsyncIterator[Deaths]:
    runners = [FakeRunner(f"r{number}") for number in range(count)]
    async with AsyncExitStack() as stack:
        way = await stack.enter_async_context(way_to(*runners))
        fleet = Deaths(way, runners, together)
        for runner in runners:
            held: list[Call] = []
            runner.answer = lambda call, runner=runner, held=held: fleet.take(runner, held, call)  # type: ignore[misc]
        await fleet.connected()
        yield fleet


async def test_a_request_that_two_runners_died_of_is_not_given_to_a_third_one() -> None:
    async with deaths() as fleet:
        assert [await fleet.call(POISON) for _ in range(5)] == ["RUNNER_GONE"] * 2 + ["RUNNER_CRASHED"] * 3
        assert fleet.tried == [POISON, POISON]
        assert await fleet.call(PLAIN) == "answered"
        # What another tenant sends is another request.
        assert await fleet.call(POISON, "other") == "RUNNER_GONE"
        assert not len(fleet.way.calls)


async def test_what_died_beside_it_is_answered_when_it_comes_back_and_only_the_guilty_one_is_refused() -> (
    None
):
    plain = [bytes([number, 0, 0, 0]) for number in range(20, 30)]
    async with deaths(count=1, together=11) as fleet:
        everything = [*plain, POISON]
        first = await asyncio.gather(*(fleet.call(raw) for raw in everything))
        assert first == ["RUNNER_GONE"] * 11
        # All of them come back at once, as clients do that try again.
        second = await asyncio.gather(*(fleet.call(raw) for raw in everything))
        assert second[-1] == "RUNNER_GONE"
        third = await asyncio.gather(*(fleet.call(raw) for raw in everything))
        assert third == ["answered"] * 10 + ["RUNNER_CRASHED"]
        assert fleet.tried.count(POISON) == 2


async def test_a_call_that_is_no_suspect_does_not_wait_for_trials() -> None:
    async with deaths() as fleet:
        assert await fleet.call(POISON) == "RUNNER_GONE"
        for runner in fleet.runners:
            runner.answer = lambda call: None if call.tensors.tensors[0].raw == POISON else echo(call)
        trial = asyncio.ensure_future(fleet.way.calls.call(tensor_call(raw=POISON)))
        late = asyncio.ensure_future(fleet.way.calls.call(tensor_call(raw=POISON, timeout_ms=100)))
        assert await fleet.call(PLAIN) == "answered"
        with pytest.raises(DeadlinePassed, match="its turn did not come"):
            await late
        trial.cancel()
        # The next one has its turn then.
        for runner in fleet.runners:
            runner.answer = echo
        assert [await fleet.call(POISON) for _ in range(2)] == ["answered"] * 2
        assert fleet.way.calls.under_way.calls == 0


async def test_a_call_that_was_stopped_and_that_its_runner_then_dies_of_is_a_suspect_too() -> None:
    stuck = FakeRunner("r1", lambda call: None)
    async with way_to(stuck) as way:
        fleet = Deaths(way, [stuck])
        await fleet.connected()
        for attempt in (1, 2):
            with pytest.raises(DeadlinePassed):
                await way.calls.call(tensor_call(raw=POISON, timeout_ms=100))
            await stuck.until(lambda attempt=attempt: len(stuck.cancelled) == attempt)  # type: ignore[misc]
            # It cannot be stopped, so the runner gives itself up.
            stuck.hang_up()
            await stuck.attached(attempt + 1)
            await fleet.connected()
        with pytest.raises(RunnerCrashed):
            await way.calls.call(tensor_call(raw=POISON))
        assert len(stuck.calls) == 2


async def test_what_a_runner_gave_its_engine_up_for_is_given_to_no_other_one_whatever_it_says_of_the_start() -> (
    None
):
    gives_up = refusing(RunnerCrashed("its runner's engine did not come back from it"), started=False)
    runners = [FakeRunner(f"r{number}", gives_up) for number in range(3)]
    async with way_to(*runners) as way:
        fleet = Deaths(way, runners)
        await fleet.connected()
        for _ in range(2):
            with pytest.raises(Relayed, match="did not come back"):
                await way.calls.call(tensor_call(raw=POISON))
        with pytest.raises(RunnerCrashed, match="two runners died"):
            await way.calls.call(tensor_call(raw=POISON))
    assert sum(len(runner.calls) for runner in runners) == 2


async def test_a_runner_that_leaves_in_good_order_makes_nobody_a_suspect() -> None:
    async with deaths(count=1) as fleet:
        (runner,) = fleet.runners
        runner.answer = lambda call: None
        waiting = asyncio.ensure_future(fleet.way.calls.call(tensor_call(raw=PLAIN)))
        await runner.until(lambda: len(runner.calls) == 1)
        await fleet.way.withdraw(runner)
        fleet.way.calls.fleet.now_s = lambda: asyncio.get_running_loop().time() + 3
        await fleet.way.calls.fleet.look()
        runner.hang_up()
        with pytest.raises(RunnerGone):
            await waiting
        assert not fleet.way.calls._suspects
