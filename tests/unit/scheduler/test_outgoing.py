"""The line of tasks on their way to the log: bounded, and never in anybody's way."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from scheduler.errors import LogUnavailable
from scheduler.ports.records import PublishTicket, Republication
from scheduler.service import outgoing
from scheduler.service.outgoing import Outgoing
from scheduler.service.republisher import Republisher


class Slow:
    """A republisher that publishes when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go_on = asyncio.Event()
        self.published = asyncio.Event()
        self.away = False

    async def publish(self, tasks: Sequence[Republication], tickets: Sequence[PublishTicket]) -> None:
        self.batches.append([task.id for task in tasks])
        await self.go_on.wait()
        self.published.set()
        if self.away:
            raise LogUnavailable("away")

    def line(self) -> Outgoing:
        return Outgoing(cast(Republisher, self))


def batch(name: str, count: int = 1, size: int = 1) -> tuple[list[Republication], list[PublishTicket]]:
    tasks = [Republication(f"{name}{n}", 1, b"x" * size) for n in range(count)]
    return tasks, [PublishTicket(0, name)]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_gathers_while_a_batch_is_on_its_way_travels_together() -> None:
    slow = Slow()
    line = slow.line()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(line.run())
        for name in "abc":
            assert line.offer(*batch(name))
            await turns()
        slow.go_on.set()
        await turns()
        running.cancel()
    assert slow.batches == [["a0"], ["b0", "c0"]]


async def test_a_ticket_in_the_line_is_not_taken_twice_but_again_after_a_failure() -> None:
    slow = Slow()
    slow.away = True
    line = slow.line()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(line.run())
        assert line.offer(*batch("a"))
        await turns()
        assert not line.offer(*batch("a"))
        slow.go_on.set()
        await slow.published.wait()
        await turns()
        assert line.offer(*batch("a"))
        await turns()
        running.cancel()
    assert slow.batches == [["a0"], ["a0"]]


@pytest.mark.parametrize(("count", "size"), [(outgoing.MOST_TASKS, 1), (1, outgoing.MOST_BYTES)])
async def test_a_full_line_leaves_tasks_to_their_tickets(count: int, size: int) -> None:
    slow = Slow()
    line = slow.line()
    assert line.offer(*batch("a", count, size))
    assert not line.has_room
    assert not line.offer(*batch("b"))
    slow.go_on.set()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(line.run())
        await slow.published.wait()
        await turns()
        assert line.offer(*batch("b"))
        running.cancel()


async def test_nothing_is_not_offered() -> None:
    assert not Slow().line().offer([], [])
