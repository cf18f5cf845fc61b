"""Messages that cannot be read, and such that are not what was written: kept, never executed, and made up for."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path

import pytest

from forebay.client import AsyncClient, TaskState
from forebay.tasks.v1.envelope_pb2 import Bundle, Envelope, Publication
from scheduler.bundles import BUNDLE_PROPERTIES, bundle_properties
from scheduler.lanes import Lane
from scheduler.ports.records import Record
from scheduler.states import Level
from tests.fault.back_door import (
    LOOK_S,
    ROUNDS,
    drained,
    killed,
    letters,
    logged,
    only_recorded,
    own_lanes,
    publisher,
    unreadable,
)
from tests.fault.history import RUN_LABEL, watched
from tests.fault.kinds import add
from tests.fault.load import Load
from tests.system import forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NO_REPAIRS = {"FOREBAY_SCHEDULER_REPUBLISH_AFTER_MS": "600000"}
"""What is published again was not found by the sweep for unpublished tasks."""
SET_ASIDE = "unreadable message set aside"
MADE_UP_FOR = "all queued tasks were put on the log again"
LANES = [lane for level in Level for lane in own_lanes(level)]
WAIT_S = 30.0


def garbage(chance: random.Random) -> bytes:
    """Return bytes that are no message: a varint does not go on for so long."""
    return b"\xff" * 16 + chance.randbytes(chance.randrange(200))


def bundle_of(record: Record) -> Bundle:
    """Return the bundle that a gateway makes of one task."""
    envelope = Envelope.FromString(record.envelope)
    return Bundle(publications=[Publication(envelope=envelope, publication=record.publication)])


def lane_of(record: Record) -> Lane:
    """Return a lane on which a task belongs."""
    return own_lanes(Level(Envelope.FromString(record.envelope).priority))[0]


def flipped(payload: bytes, chance: random.Random) -> bytes:
    """Return bytes with one bit that is another one."""
    place = chance.randrange(len(payload))
    return payload[:place] + bytes([payload[place] ^ 1 << chance.randrange(8)]) + payload[place + 1 :]


@pytest.mark.parametrize("number", ROUNDS)
async def test_messages_that_do_not_parse_are_kept_once_with_their_bytes_among_100_tasks_that_succeed(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    bad = [(lane, garbage(chance)) for lane in LANES]
    with forebay_up(data, models) as system:
        async with (
            AsyncClient(system.grpc) as client,
            watched(client, f"garbage {number}") as history,
            publisher(system) as log,
        ):
            load = Load(client, history, tasks=100, slow_every=0, batch=5, workers=4)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                for lane, payload in bad:
                    await history.until_ended(history.ended + 1)
                    # One half looks as if a gateway had written it, so tasks may have been in it.
                    await log.publish(lane, payload, chance.choice([{}, BUNDLE_PROPERTIES]))
            await drained(system, client, LANES, history.run)
            assert sorted(await unreadable(client)) == sorted(payload for _, payload in bad)
            verdict = await history.check(client)
            topics = {letter.topic for letter in await letters(client)}
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    assert verdict.attempts == {1: load.tasks}
    assert len(topics) == len(LANES)


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_message_that_does_not_parse_is_kept_once_when_it_is_delivered_twice(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    first, second = garbage(chance), garbage(chance)
    lane = chance.choice(LANES)
    with forebay_up(data, models) as system:
        async with AsyncClient(system.grpc) as client:
            async with publisher(system) as log:
                await log.publish(lane, first, BUNDLE_PROPERTIES)
                await logged(system, "scheduler", MADE_UP_FOR)
                # It is acknowledged after a repair, which comes some seconds after the one before.
                await log.publish(lane, second, BUNDLE_PROPERTIES)
                async with asyncio.timeout(WAIT_S):
                    while second not in await unreadable(client):  # noqa: ASYNC110  nothing tells of it
                        await asyncio.sleep(LOOK_S)
            await killed(system, "scheduler")
            await logged(system, "scheduler", SET_ASIDE, times=3)
            await logged(system, "scheduler", MADE_UP_FOR, times=2)
            await drained(system, client, [lane], "twice")
            assert sorted(await unreadable(client)) == sorted([first, second])


@pytest.mark.parametrize("number", ROUNDS)
async def test_a_bundle_with_a_flipped_bit_is_never_executed_and_its_tasks_complete_from_their_records(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    with forebay_up(data, models, environment=NO_REPAIRS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"flipped {number}") as history:
            load = Load(client, history, tasks=8, slow_every=4)
            specs = [load.spec(place) for place in range(load.tasks)]
            records = await only_recorded(system, client, specs)
            bad = set[bytes]()
            async with publisher(system) as log:
                for record in records:
                    lane, whole = lane_of(record), bundle_of(record).SerializeToString()
                    for _ in range(6):
                        payload = flipped(whole, chance)
                        bad.add(payload)
                        await log.publish(lane, payload, bundle_properties(lane, whole))
            # Nobody but the repair of what was lost puts them on the log.
            await client.wait_many([record.id for record in records], WAIT_S)
            await drained(system, client, LANES, history.run)
            assert set(await unreadable(client)) == bad
            await load.work(iter(range(load.tasks)))
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: load.tasks}
    assert verdict.attempts == {1: load.tasks}
    assert verdict.records.keys() == {record.id for record in records}


@pytest.mark.parametrize("number", ROUNDS)
async def test_an_envelope_with_a_flipped_bit_in_its_task_is_not_executed_though_its_message_names_no_checksum(
    data: Path, models: dict[str, Path], chance: random.Random, number: int
) -> None:
    rest = timedelta(milliseconds=10)
    with forebay_up(data, models, environment=NO_REPAIRS) as system:
        async with AsyncClient(system.grpc) as client, watched(client, f"spec {number}") as history:
            specs = [
                add(place, initial_backoff=rest, idempotency_key=f"{place}", labels={RUN_LABEL: history.run})
                for place in range(8)
            ]
            records = await only_recorded(system, client, specs)
            async with publisher(system) as log:
                for record in records:
                    bundle = bundle_of(record)
                    envelope = bundle.publications[0].envelope
                    envelope.spec = flipped(envelope.spec, chance)
                    await log.publish(lane_of(record), bundle.SerializeToString(), BUNDLE_PROPERTIES)
            await client.wait_many([record.id for record in records], WAIT_S)
            for spec, handle in zip(specs, await client.submit_many(specs), strict=True):
                history.accept(spec.idempotency_key, handle)
                info = await client.get(handle)
                assert info.tensors["y"].tolist() == [[2.0 * float(spec.idempotency_key)] * 4]
                reasons = [event.reason for event in info.events if event.state is TaskState.RETRYING]
                assert reasons == ["ENVELOPE_DAMAGED"]
            verdict = await history.check(client)
    assert verdict.states == {TaskState.SUCCEEDED: len(specs)}
    assert verdict.attempts == {2: len(specs)}
