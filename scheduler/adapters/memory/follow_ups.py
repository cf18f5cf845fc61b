"""What follows from endings, in memory."""

from collections.abc import Sequence
from itertools import islice

from scheduler.adapters.memory.rows import Row
from scheduler.adapters.memory.state import State
from scheduler.ids import is_task_id, partition_of
from scheduler.ports.follow_ups import ChildVerdict, FollowUp, Release, Released
from scheduler.ports.records import PublishTicket, Republication
from scheduler.replacing import envelope_digest
from scheduler.states import Event, TaskState


class MemoryFollowUps:
    """FollowUpStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def follow_ups(self, partitions: Sequence[int], limit: int) -> list[FollowUp]:
        """Read what is not done; see FollowUpStore."""
        return [
            entry
            for each in self._state.among(partitions)
            for entry in islice(each.follow_ups.values(), limit)
        ]

    async def followed_up(self, done: Sequence[FollowUp]) -> None:
        """Forget what is done; see FollowUpStore."""
        for entry in done:
            partition = self._state.partition(entry.partition)
            partition.follow_ups.pop(entry.member, None)
            for parent in entry.parents:
                partition.children.pop(parent, None)

    async def children(self, parents: Sequence[str]) -> list[list[str]]:
        """Read who waits for these; see FollowUpStore."""
        return [
            sorted(self._state.partition(partition_of(parent)).children.get(parent, ()))
            if is_task_id(parent)
            else []
            for parent in parents
        ]

    async def link(self, pairs: Sequence[tuple[str, str]], tenant: str) -> list[TaskState | None]:
        """Make children known to their parents; see FollowUpStore."""
        answers: list[TaskState | None] = []
        for parent, child in pairs:
            row = self._state.row(parent)
            if row is None or row.task.tenant != tenant:
                answers.append(None)
                continue
            if not row.state.terminal:
                self._state.of(row).children.setdefault(parent, set()).add(child)
            answers.append(row.state)
        return answers

    async def release(
        self, releases: Sequence[Release]
    ) -> tuple[list[Released], list[Republication], list[PublishTicket]]:
        """Let children go on; see FollowUpStore."""
        begun: list[Row] = []
        answers = [self._release(release, begun) for release in releases]
        again, tickets = self._state.remind(begun)
        self._state.commit()
        return answers, again, tickets

    def _release(self, release: Release, begun: list[Row]) -> Released:
        row = self._state.row(release.child)
        if row is None or row.state is not TaskState.BLOCKED:
            return Released.GONE
        if release.verdict is not ChildVerdict.RUN:
            row.error = release.error
            self._state.move(row, _ending(release), release.reason)
            return Released.ENDED
        row.waits_for.discard(release.parent)
        if release.replaces not in ("", envelope_digest(row.task.envelope)):
            return Released.READY
        if release.envelope:
            row.task = row.task._replace(envelope=release.envelope)
        if row.waits_for:
            return Released.WAITING
        if release.hold:
            return Released.READY
        begun.append(row)
        if row.task.not_before_ms > self._state.clock.now_ms():
            self._state.move(row, Event.POSTPONE, "PARENTS_ENDED")
            self._state.of(row).timers.put(row.id, row.task.not_before_ms)
            return Released.SCHEDULED
        self._state.move(row, Event.UNBLOCK, "PARENTS_ENDED")
        return Released.QUEUED


def _ending(release: Release) -> Event:
    if release.verdict is ChildVerdict.CANCEL:
        return Event.CANCEL
    return Event.PARENT_FAILED if release.reason == "PARENT_FAILED" else Event.FAIL
