"""The group of suspects that a task belongs to travels from its bundle to its assignment."""

from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope
from forebay.tasks.v1.task_pb2 import PRIORITY_NORMAL
from scheduler.bundles import bundle_properties
from scheduler.ids import new_ids
from scheduler.lanes import Lane
from scheduler.ports.records import NewTask
from scheduler.states import Level

from .world import World


async def test_the_isolation_of_a_publication_reaches_the_runner_and_others_have_none() -> None:
    world = World()
    lane, bundle = Lane("default", Level.NORMAL, 0), Bundle()
    for task_id, group in zip(new_ids(7, 3, world.clock.now_ms()), ("g1", "", "g1"), strict=True):
        envelope = Envelope(
            id=task_id, tenant="t", model="m", pool="default", priority=PRIORITY_NORMAL, max_attempts=3
        )
        new = NewTask(task_id, "t", "default", Level.NORMAL, envelope.SerializeToString(), 3)
        await world.store.records.create([new])
        bundle.publications.add(envelope=envelope, publication=1, isolation=group)
    payload = bundle.SerializeToString()
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=3) as runner:
        await world.publisher.publish(lane, payload, bundle_properties(lane, payload))
        answer = await runner.answers.get()
        assert [(a.envelope.id, a.isolation) for a in answer.assignments] == [
            (p.envelope.id, p.isolation) for p in bundle.publications
        ]
