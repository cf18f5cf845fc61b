"""Those who wait for one flight in one process."""

import asyncio

from cache.flights.seats import Seat, Seats
from cache.ports import NOBODY
from tests.unit.cache.flights.gateways import HIGH, LOW, NORMAL, SteeredCall, Store


class CountedSeat(Seat[str]):
    """A seat that counts how often it is looked at."""

    looks = 0

    def __getattribute__(self, name: str) -> object:
        if name == "ending":
            CountedSeat.looks += 1
        return super().__getattribute__(name)


def seat(level: int = NORMAL) -> Seat[str]:
    return Seat(SteeredCall(Store()), level, streams=False)


async def test_each_has_one_turn_to_compute_in_the_order_of_their_coming() -> None:
    seats, some = Seats[str](), [seat() for _ in range(5)]
    for one in some:
        seats.add(one)
    seats.remove(some[0])
    some[2].fail(RuntimeError("told already"))
    turns = [seats.next_to_compute() for _ in range(4)]
    assert turns == [some[1], some[3], some[4], None]
    assert [one.computed for one in some] == [False, True, False, True, True]
    assert list(seats) == some[1:] and list(seats.waiting()) == [some[1], *some[3:]]


async def test_the_level_is_the_highest_of_those_who_sit_there() -> None:
    seats, some = Seats[str](), [seat(level) for level in (LOW, HIGH, HIGH, NORMAL)]
    assert seats.level == NOBODY
    for one in some:
        seats.add(one)
    levels = []
    for one in some[1:]:
        seats.remove(one)
        levels.append(seats.level)
    assert levels == [HIGH, NORMAL, LOW] and len(seats) == 1


async def test_a_turn_does_not_look_at_those_who_had_theirs() -> None:
    seats = Seats[str]()
    for _ in range(100):
        seats.add(CountedSeat(SteeredCall(Store()), NORMAL, streams=False))
    await asyncio.sleep(0)
    CountedSeat.looks = 0
    for _ in range(100):
        assert seats.next_to_compute() is not None
    assert CountedSeat.looks == 100
