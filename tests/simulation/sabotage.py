"""Ways to break the system on purpose: the simulation is worth something only if it notices each of them.

Most spoil one method of the record store: `before` changes what it is asked, `after` what it did.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, Final
from unittest import mock

from scheduler.adapters.memory.rows import Row
from scheduler.policies import parents
from scheduler.ports.follow_ups import ChildVerdict
from scheduler.ports.records import Lease, LeaseReply, PublishTicket
from scheduler.service import settlement
from scheduler.service.entry import OpenBundle
from scheduler.states import TaskState
from tests.simulation.run import Sabotage
from tests.simulation.world import World

Before = Callable[[World, tuple[Any, ...]], tuple[Any, ...]]
After = Callable[[World, tuple[Any, ...], Any], Any]


def spoil(part: str, method: str, *, before: Before | None = None, after: After | None = None) -> Sabotage:
    """Return a sabotage of one method of one part of the store."""

    def sabotage(world: World) -> AbstractContextManager[object]:
        owner = getattr(world.store, part)
        honest = getattr(owner, method)

        @wraps(honest)
        async def spoiled(*args: Any) -> Any:
            asked = before(world, args) if before else args
            answer = await honest(*asked)
            return after(world, args, answer) if after else answer

        return mock.patch.object(owner, method, spoiled)

    return sabotage


def shifted(part: str, methods: tuple[str, ...], ms: int) -> Sabotage:
    """Return a sabotage that lets some methods see another time."""

    @contextmanager
    def sabotage(world: World) -> Iterator[None]:
        with mock.patch.object(world.clock, "shift_ms", 0):
            owner = getattr(world.store, part)
            for method in methods:
                setattr(owner, method, _at_another_time(world, getattr(owner, method), ms))
            yield

    return sabotage


def _at_another_time(world: World, honest: Any, ms: int) -> Any:
    @wraps(honest)
    async def spoiled(*args: Any) -> Any:
        world.clock.shift_ms = ms
        try:
            return await honest(*args)
        finally:
            world.clock.shift_ms = 0

    return spoiled


def replaced(*places: tuple[object, str, Any]) -> Sabotage:
    """Return a sabotage that puts other things in their places."""

    @contextmanager
    def sabotage(world: World) -> Iterator[None]:
        del world
        patches = [mock.patch.object(owner, name, other) for owner, name, other in places]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()

    return sabotage


def _row(world: World, task_id: str) -> Row | None:
    row: Row | None = world.store.records._state.row(task_id)
    return row


def _any_attempt(world: World, args: tuple[Any, ...]) -> tuple[Any, ...]:
    def present(item: Any) -> Any:
        row = _row(world, item.id)
        return item if row is None else item._replace(attempt=row.attempt)

    return ([present(item) for item in args[0]], *args[1:])


def _any_publication(world: World, args: tuple[Any, ...]) -> tuple[Any, ...]:
    rows = [(wanted, _row(world, wanted.id)) for wanted in args[0]]
    return (
        [wanted._replace(publication=row.publication) if row else wanted for wanted, row in rows],
        *args[1:],
    )


def _leased_again(world: World, args: tuple[Any, ...], answer: list[LeaseReply]) -> list[LeaseReply]:
    return [
        reply._replace(verdict=Lease.GRANTED) if reply.verdict is Lease.HELD else reply for reply in answer
    ]


def _uncharged(world: World, args: tuple[Any, ...], answer: list[LeaseReply]) -> list[LeaseReply]:
    for wanted, reply in zip(args[0], answer, strict=True):
        row = _row(world, wanted.id)
        if reply.verdict is Lease.GRANTED and row is not None:
            row.returned += 1
    return answer


def _revived(state: TaskState) -> Before:
    """Let endings of tasks in a state through, as if they still ran."""

    def before(world: World, args: tuple[Any, ...]) -> tuple[Any, ...]:
        for ending in args[0]:
            row = _row(world, ending.id)
            if row is not None and row.state is state and row.attempt == ending.attempt:
                world.store.records._state._leave(row)
                row.state = TaskState.RUNNING
                world.store.records._state._enter(row)
        return args

    return before


def _without_keys(prefix: str = "") -> Before:
    def before(world: World, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (
            [
                task._replace(idempotency_key="") if task.idempotency_key.startswith(prefix) else task
                for task in args[0]
            ],
        )

    return before


def _forgotten(world: World, args: tuple[Any, ...], answer: list[Any]) -> list[Any]:
    for entry in answer:
        world.store.records._state.partition(entry.partition).follow_ups.pop(entry.member, None)
    return answer


def _charged(world: World, args: tuple[Any, ...], answer: Any) -> Any:
    for again in answer[0]:
        row = _row(world, again.id)
        if row is not None:
            row.returned -= 1
    return answer


def _without_tickets(world: World, args: tuple[Any, ...], answer: Any) -> Any:
    for ticket in answer[-1]:
        if isinstance(ticket, PublishTicket):
            world.store.records._state.partition(ticket.partition).tickets.drop(ticket.member)
    return answer


def _counting(world: World, args: tuple[Any, ...]) -> tuple[Any, ...]:
    for release in args[0]:
        row = _row(world, release.child)
        if (
            row
            and release.verdict is ChildVerdict.RUN
            and release.parent not in row.waits_for
            and row.waits_for
        ):
            row.waits_for.remove(min(row.waits_for))
    return args


def _letters_of_all(world: World, args: tuple[Any, ...], answer: Any) -> Any:
    for ending in args[0]:
        row = _row(world, ending.id)
        if row is not None and row.state is TaskState.RETRYING:
            state = world.store.records._state
            expire_ms = row.expire_ms
            state.bury(row)
            row.expire_ms = expire_ms
    return answer


def _acknowledged_at_once(self: Any, delivery: Any, tasks: int) -> Any:
    self.discard(delivery)
    return OpenBundle(delivery, tasks + 1)


def _nothing(answer: Any) -> After:
    return lambda world, args, honest: answer


@contextmanager
def _no_letters(world: World) -> Iterator[None]:
    with mock.patch.object(world.store.records._state, "bury", lambda row: None):
        yield


@contextmanager
def _no_journal(world: World) -> Iterator[None]:
    class Void(list[bytes]):
        def append(self, payload: bytes) -> None:
            del payload

    world.log.journal = Void()
    yield


@contextmanager
def _deaf_to_parents(world: World) -> Iterator[None]:
    """Let the end of any parent be a success, wherever that is judged."""
    judges = [
        module for module in sys.modules.values() if getattr(module, "verdict", None) is parents.verdict
    ]
    with replaced(*((module, "verdict", lambda choice, parent: ChildVerdict.RUN) for module in judges))(
        world
    ):
        yield


SABOTAGES: Final[dict[str, Sabotage]] = {
    "finish-without-fence": spoil("records", "finish", before=_any_attempt),
    "output-without-fence": spoil("records", "append_output", before=_any_attempt),
    "renew-accepts-anything": spoil(
        "records", "renew", before=_any_attempt, after=lambda world, args, kept: [True] * len(kept)
    ),
    "lease-takes-any-publication": spoil("records", "lease", before=_any_publication),
    "lease-is-given-twice": spoil("records", "lease", after=_leased_again),
    "attempts-are-not-charged": spoil("records", "lease", after=_uncharged),
    "lease-ignores-the-deadline": shifted("records", ("lease",), -30_000),
    "leases-never-end": spoil("sweeps", "expire_leases", before=lambda world, args: ((), *args[1:])),
    "acknowledged-before-it-is-done": replaced((settlement.Settlement, "opened", _acknowledged_at_once)),
    "cancel-stops-no-writes": spoil("records", "finish", before=_revived(TaskState.CANCELLED)),
    "finish-is-not-idempotent": spoil("records", "finish", before=_revived(TaskState.SUCCEEDED)),
    "keys-are-ignored": spoil("records", "create", before=_without_keys()),
    "schedules-fire-without-a-key": spoil("records", "create", before=_without_keys("schedule/")),
    "sweeper-never-publishes": spoil("sweeps", "unpublished", after=_nothing([])),
    "timers-fire-early": shifted("sweeps", ("due", "wake"), 1_500),
    "timers-leave-no-ticket": spoil("sweeps", "wake", after=_without_tickets),
    "deadlines-are-forgotten": spoil(
        "sweeps", "expire_deadlines", before=lambda world, args: ((), *args[1:])
    ),
    "dead-letters-of-the-living": spoil("records", "finish", after=_letters_of_all),
    "dead-letters-are-lost": _no_letters,
    "follow-ups-are-forgotten-early": spoil("follow_ups", "follow_ups", after=_forgotten),
    "release-counts-instead-of-naming": spoil("follow_ups", "release", before=_counting),
    "release-ignores-the-time": shifted("follow_ups", ("release",), 3_600_000),
    "children-are-not-linked": spoil(
        "follow_ups",
        "link",
        before=lambda world, args: ((), *args[1:]),
        after=lambda world, args, answer: [TaskState.RUNNING] * len(args[0]),
    ),
    "failed-parents-do-not-matter": _deaf_to_parents,
    "the-journal-is-empty": _no_journal,
    "everybody-is-charged-for-a-death": spoil(
        "sweeps",
        "runner_died",
        before=lambda world, args: ([death._replace(charged=True) for death in args[0]], *args[1:]),
    ),
    "suspects-are-not-isolated": spoil(
        "sweeps",
        "runner_died",
        before=lambda world, args: ([death._replace(isolation="") for death in args[0]], *args[1:]),
    ),
    "handing-back-is-charged": spoil("records", "give_back", after=_charged),
    "shelves-have-no-bottom": spoil(
        "shelves",
        "shelve",
        before=lambda world, args: (args[0], ()),
        after=lambda world, args, answer: [True] * len(args[1]),
    ),
}
"""By name."""
