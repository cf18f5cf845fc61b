"""Makes the records again from the log: accepted minus finished, where no record exists. Called by `forebay recover`.

Idempotent, and safe while tasks come and end: a record that exists is never touched.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.policies.parents import OnParentFailure
from scheduler.ports.follow_ups import FollowUpStore, Release, Released
from scheduler.ports.records import (
    AdmissionStore,
    Admitted,
    NewTask,
    PublishTicket,
    QueryStore,
    Republication,
)
from scheduler.states import TaskState
from services.bundling import Bundler
from services.parting import release_of
from services.recovery.dependents import Dependents, pairs_of
from services.recovery.planning import Plan, plan
from services.recovery.reading import Faults, LogContents

BATCH: Final = 512
"""Tasks that are recorded in one step ..."""
BATCH_BYTES: Final = 4 << 20
"""... or fewer, when their envelopes are large."""


@dataclass(slots=True)
class Replayed:
    """What was found and done; with a dry run, what would have been done."""

    finished: int = 0
    """Tasks of which the journal says that they have ended."""
    unfinished: int = 0
    """Other tasks that the log keeps."""
    existing: int = 0
    """Those with a record: untouched."""
    superseded: int = 0
    """Those whose idempotency key belongs to a newer task: left out."""
    queued: int = 0
    scheduled: int = 0
    blocked: int = 0
    ended: int = 0
    """Recorded, and ended at once because of what became of a parent."""
    faults: Faults = field(default_factory=Faults)

    @property
    def recovered(self) -> int:
        """Tasks that have a record again."""
        return self.queued + self.scheduled + self.blocked + self.ended


class Replay:
    """One recovery. Owns none of what it works with."""

    def __init__(
        self,
        contents: LogContents,
        *,
        admissions: AdmissionStore,
        queries: QueryStore,
        follow_ups: FollowUpStore,
        bundler: Bundler,
        dry_run: bool = False,
    ) -> None:
        self._contents = contents
        self._admissions = admissions
        self._queries = queries
        self._follow_ups = follow_ups
        self._bundler = bundler
        self._dry_run = dry_run
        self._done = Replayed()

    async def run(self) -> Replayed:
        """Do it. Raises RecordsUnavailable and LogUnavailable: doing it again completes what was begun."""
        done = self._done
        finished = await self._contents.finished(done.faults)
        standings = await self._contents.standings(finished, done.faults)
        done.finished, done.unfinished = len(finished), len(standings)
        with Dependents() as dependents:
            batch: list[Plan] = []
            size = 0
            async with aclosing(self._contents.counting(standings)) as counting:
                async for publication, standing in counting:
                    found = plan(publication.envelope, standing.newest, finished)
                    batch.append(found)
                    size += len(found.task.envelope)
                    if len(batch) == BATCH or size > BATCH_BYTES:
                        await self._settle(batch, dependents)
                        batch, size = [], 0
            await self._settle(batch, dependents)
            for plans in dependents.in_order(BATCH // 8):
                await self._block(plans)
        return done

    async def _settle(self, plans: Sequence[Plan], dependents: Dependents) -> None:
        """Record those that are missing and wait for nobody; keep the others for later."""
        if not plans:
            return
        records = await self._queries.get([each.task.id for each in plans], False)
        missing = [each for each, record in zip(plans, records, strict=True) if record is None]
        self._done.existing += len(plans) - len(missing)
        independent = []
        for each in missing:
            if each.task.state is TaskState.BLOCKED:
                dependents.add(each)
            else:
                independent.append(each)
        created, tickets = await self._create(independent)
        await self._publish([each.task for each in created], tickets)
        for each in created:
            if each.task.state is TaskState.SCHEDULED:
                self._done.scheduled += 1
            else:
                self._done.queued += 1

    async def _block(self, plans: Sequence[Plan]) -> None:
        """Record tasks that wait for others, link them, and let go of those whose parents ended meanwhile."""
        created, tickets = await self._create(plans)
        self._done.blocked += len(created)
        if self._dry_run:
            return
        releases = [each.release for each in created if each.release]
        # Putting outputs of a parent into the input is the scheduler's: it finds the tasks by their tickets.
        left_to_scheduler = False
        envelopes = {each.task.id: Envelope.FromString(each.task.envelope) for each in created}
        for tenant, pairs in pairs_of(created).items():
            states = await self._follow_ups.link(pairs, tenant)
            for (parent, child), state in zip(pairs, states, strict=True):
                if state is not None and not state.terminal:
                    continue
                envelope = envelopes[child]
                choice = OnParentFailure.of(envelope.on_parent_failure)
                release = release_of(child, parent, state, choice, takes_outputs=envelope.takes_outputs)
                if release.hold:
                    left_to_scheduler = True
                else:
                    releases.append(release)
        await self._publish([each.task for each in created], [] if left_to_scheduler else tickets)
        await self._release(releases)

    async def _release(self, releases: Sequence[Release]) -> None:
        if not releases:
            return
        became, republications, tickets = await self._follow_ups.release(releases)
        for what in became:
            if what is Released.ENDED:
                self._done.ended += 1
                self._done.blocked -= 1
            elif what is Released.QUEUED:
                self._done.queued += 1
                self._done.blocked -= 1
            elif what is Released.SCHEDULED:
                self._done.scheduled += 1
                self._done.blocked -= 1
        await self._bundler.put(republications)
        await self._bundler.flush()
        await self._admissions.mark_published(tickets)

    async def _create(self, plans: Sequence[Plan]) -> tuple[list[Plan], list[PublishTicket]]:
        """Record tasks; returns those that have a record now because of it."""
        if self._dry_run or not plans:
            return list(plans), []
        admissions, tickets = await self._admissions.create([each.task for each in plans])
        created = []
        for each, admission in zip(plans, admissions, strict=True):
            if admission.verdict is Admitted.CREATED:
                created.append(each)
            elif admission.task_id == each.task.id:
                self._done.existing += 1
            else:
                self._done.superseded += 1
        return created, tickets

    async def _publish(self, tasks: Sequence[NewTask], tickets: Sequence[PublishTicket]) -> None:
        if self._dry_run:
            return
        for task in tasks:
            published = [Republication(task.id, task.publication, task.envelope)]
            await self._bundler.put(published, parked=task.state is not TaskState.QUEUED)
        await self._bundler.flush()
        await self._admissions.mark_published(tickets)
