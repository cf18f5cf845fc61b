import asyncio
from collections.abc import Sequence

import pytest

from scheduler.adapters.clock import FakeClock
from scheduler.errors import Overloaded, RecordsUnavailable, ShuttingDown
from scheduler.lanes import tenant_lanes
from scheduler.ports.records import Admission, NewTask, PublishTicket
from scheduler.states import Level
from services.gateway.lanes import LaneChooser
from services.gateway.limits import InFlight
from services.gateway.tickets import TicketMarker, ticket_marker


def test_calls_over_the_limit_are_refused_until_one_ends() -> None:
    limits = InFlight(2, 1000)
    with limits.taken(1), limits.taken(1):
        with pytest.raises(Overloaded), limits.taken(1):
            raise AssertionError
    with limits.taken(1):
        pass


def test_bytes_over_the_limit_are_refused_but_never_the_only_call() -> None:
    limits = InFlight(9, 1000)
    with limits.taken(5000):
        with pytest.raises(Overloaded), limits.taken(1):
            raise AssertionError
    with limits.taken(600), limits.taken(400):
        pass


def test_a_closed_gateway_takes_nothing() -> None:
    limits = InFlight(9, 1000)
    limits.close()
    with pytest.raises(ShuttingDown), limits.taken(1):
        raise AssertionError


def test_a_tenants_batches_are_spread_over_its_own_lanes() -> None:
    chooser = LaneChooser(8, FakeClock())
    chosen = [chooser.choose("default", Level.HIGH, "t", 10).index for _ in range(10)]
    assert sorted({index: chosen.count(index) for index in set(chosen)}.values()) == [5, 5]
    assert set(chosen) == set(tenant_lanes("t", 8))


def test_what_was_sent_long_ago_counts_no_more() -> None:
    clock = FakeClock()
    chooser = LaneChooser(8, clock)
    first = chooser.choose("default", Level.HIGH, "t", 100)
    assert chooser.choose("default", Level.HIGH, "t", 1) != first
    clock.advance(60)
    assert chooser.choose("default", Level.HIGH, "t", 1) == first


class Store:
    """Remembers what was marked."""

    def __init__(self) -> None:
        self.marked: list[PublishTicket] = []
        self.calls = 0
        self.done = asyncio.Event()
        self.available = True

    async def create(self, tasks: Sequence[NewTask]) -> tuple[list[Admission], list[PublishTicket]]:
        raise AssertionError

    async def known(self, tasks: Sequence[NewTask]) -> list[Admission | None]:
        raise AssertionError

    async def mark_published(self, tickets: Sequence[PublishTicket]) -> None:
        self.calls += 1
        self.done.set()
        if not self.available:
            raise RecordsUnavailable("away")
        self.marked.extend(tickets)

    async def hasten(self, tickets: Sequence[PublishTicket]) -> None:
        raise AssertionError


TICKETS = [PublishTicket(number, "m") for number in range(4)]


async def test_tickets_are_marked_together_after_a_moment() -> None:
    store, clock = Store(), FakeClock()
    async with ticket_marker(store, clock) as marker:
        marker.arrived(TICKETS[:1])
        await clock.until_asleep()
        marker.arrived(TICKETS[1:3])
        clock.advance(1)
        await store.done.wait()
        assert (store.calls, store.marked) == (1, TICKETS[:3])
        marker.arrived(TICKETS[3:])
    assert store.marked == TICKETS


async def test_a_store_that_is_away_costs_only_the_mark() -> None:
    store = Store()
    store.available = False
    marker = TicketMarker(store, FakeClock())
    marker.arrived(TICKETS)
    await marker.flush()
    store.available = True
    marker.arrived(TICKETS[:1])
    await marker.flush()
    assert store.marked == TICKETS[:1]
