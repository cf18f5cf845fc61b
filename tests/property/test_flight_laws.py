"""Whatever happens to those who lead and follow: one leader at a time, everybody is told an end, nothing is left."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.flights import Abandoned, Answered, Chunk, FlightFailed, Restarted, rules
from cache.flights.rules import Flight
from cache.ports import Following, Landing, LandingKind, Leading
from tests.unit.cache.flights.gateways import KEY, Gateways, SteeredCall, Store, gateways, settle

LEASE_MS = 100
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "renew", "land", "pass"]),
        st.integers(0, 2),
        st.integers(0, 60),
        st.sampled_from(LandingKind),
    ),
    max_size=40,
)


@given(STEPS)
def test_only_the_latest_leader_can_renew_and_land_and_only_once(
    steps: Sequence[tuple[str, int, int, LandingKind]],
) -> None:
    flight: Flight | None = None
    now_ms, latest, landed, until_ms = 0, 0, True, 0
    held = [0, 0, 0]
    for verb, who, number, kind in steps:
        match verb:
            case "pass":
                now_ms += number
            case "begin":
                flight, turn = rules.begin(flight, str(who), LEASE_MS, 1 + who, now_ms, latest + 1)
                if isinstance(turn, Following):
                    assert turn.fence == latest
                else:
                    assert turn.fence > latest
                    # Nobody is pushed aside while its lease stands.
                    assert landed or until_ms <= now_ms or held[who] == latest
                    latest, landed, until_ms = turn.fence, False, now_ms + LEASE_MS
                    held[who] = turn.fence
            case "renew":
                flight, renewed = rules.renew(flight, held[who], LEASE_MS, now_ms)
                assert renewed.ok == (not landed and held[who] == latest)
                if renewed.ok:
                    until_ms = now_ms + LEASE_MS
            case "land":
                flight, ended = rules.land(flight, held[who], Landing(kind))
                assert ended == (not landed and held[who] == latest)
                landed = landed or ended


VERBS = [
    *("ask", "ask", "ask", "leave", "chunk", "chunk"),
    *("end", "fail", "give up", "cut", "time", "lose"),
]


class Rider:
    """Somebody who asks, as a whole answer or as a stream."""

    def __init__(self, store: Store, pieces: Sequence[bytes]) -> None:
        self.call = SteeredCall(store, chunks=pieces)
        self.shown: list[bytes] = []
        self.answer: str | None = None
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    async def ride(self, several: Gateways, gateway: int, level: int, *, streams: bool) -> None:
        flights = several.each[gateway]
        try:
            if not streams:
                self.answer = await flights.do(KEY, level, self.call)
                return
            async with aclosing(flights.stream(KEY, level, self.call)) as events:
                async for event in events:
                    self._see(event)
        except Exception as error:
            self.error = error

    def _see(self, event: Chunk | Restarted | Answered[str]) -> None:
        match event:
            case Chunk(place, body):
                assert place == len(self.shown)
                self.shown.append(body)
            case Restarted(place):
                assert place < len(self.shown)
                del self.shown[place:]
            case Answered(answer):
                self.answer = answer


@pytest.mark.parametrize("seed", range(25))
async def test_everybody_is_told_an_end_whatever_happens(seed: int) -> None:
    chance = Random(seed)
    pieces = [b"one", b"two", b"three"]
    store, riders = Store(), []
    async with gateways(3) as several, asyncio.TaskGroup() as group:
        for _ in range(60):
            match chance.choice(VERBS):
                case "ask":
                    rider = Rider(store, pieces)
                    riders.append(rider)
                    rider.task = group.create_task(
                        rider.ride(
                            several, chance.randrange(3), chance.randint(1, 4), streams=chance.random() < 0.5
                        )
                    )
                case "lose":
                    store.answer = None
                case "time":
                    several.clock.advance(chance.choice([0.1, 0.5, 5.0]))
                case "cut":
                    cable = chance.choice(several.cables)
                    cable.cut = not cable.cut
                case _ if not riders:
                    continue
                case "leave":
                    leaving = chance.choice(riders).task
                    assert leaving is not None
                    leaving.cancel()
                case verb:
                    # Only who computes feels it.
                    for rider in riders:
                        if rider.call.computed and not rider.call.go.is_set():
                            steer(rider.call, verb)
                            break
            for _ in range(chance.choice([0, 1, 2, 5, 40])):
                await asyncio.sleep(0)
        for cable in several.cables:
            cable.cut = False
        for rider in riders:
            for _ in pieces:
                rider.call.publish_next.release()
            rider.call.go.set()
        for _ in range(12):
            await several.tick(1.0)
        for rider in riders:
            assert rider.task is not None and rider.task.done()
            if rider.task.cancelled():
                continue
            assert (rider.answer == "answer") != isinstance(
                rider.error, FlightFailed | Abandoned | RuntimeError
            )
            if rider.answer and rider.shown:
                assert rider.shown == pieces
            assert rider.call.computed <= 1
        assert [each.under_way for each in several.each] == [0, 0, 0]
        await settle()
        assert isinstance(await several.shared.begin(KEY, "next", LEASE_MS, 1), Leading)


def steer(call: SteeredCall, verb: str) -> None:
    if verb == "chunk":
        call.publish_next.release()
        return
    if verb == "fail":
        call.failure = RuntimeError("the model failed")
    elif verb == "give up":
        call.failure = Abandoned("its own deadline")
    for _ in call.pieces:
        call.publish_next.release()
    call.go.set()
