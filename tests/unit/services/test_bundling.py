"""Putting tasks on the log again."""

import logging

import pytest

from forebay.tasks.v1.envelope_pb2 import Bundle
from scheduler.adapters.memory.log import MemoryLog
from scheduler.bundles import MAX_BUNDLE_BYTES, MAX_BUNDLE_TASKS
from scheduler.lanes import queue_lanes
from scheduler.ports.records import Republication
from scheduler.states import Level
from services.bundling import Bundler
from tests.unit.services.recovery.builders import envelope

LANES = queue_lanes("default", Level.NORMAL, 2)


def task(publication: int = 1, size_bytes: int = 0) -> Republication:
    made = envelope(traceparent="x" * size_bytes)
    return Republication(made.id, publication, made.SerializeToString())


def on_lanes(log: MemoryLog) -> list[list[str]]:
    """Return the ids of each bundle on the lanes."""
    return [
        [each.envelope.id for each in Bundle.FromString(message.payload).publications]
        for lane in LANES
        for message in log.partition(lane).kept
    ]


async def test_tasks_travel_in_full_bundles_over_both_lanes_of_their_tenant() -> None:
    log = MemoryLog()
    tasks = [task() for _ in range(2 * MAX_BUNDLE_TASKS + 10)]
    bundler = Bundler(log.publisher(), 2)
    await bundler.put(tasks)
    await bundler.flush()
    bundles = on_lanes(log)
    assert sorted(map(len, bundles)) == [5, 5, MAX_BUNDLE_TASKS, MAX_BUNDLE_TASKS]
    assert sorted(each for bundle in bundles for each in bundle) == sorted(each.id for each in tasks)


async def test_a_task_that_is_larger_than_a_bundle_has_one_of_its_own() -> None:
    log = MemoryLog()
    bundler = Bundler(log.publisher(), 1)
    await bundler.put([task(), task(size_bytes=MAX_BUNDLE_BYTES + 1), task()])
    await bundler.flush()
    assert list(map(len, on_lanes(log))) == [1, 1, 1]


async def test_tasks_without_a_number_are_parked_and_others_when_they_are_told_to_be() -> None:
    log = MemoryLog()
    waiting, running, queued = task(0), task(2), task(2)
    bundler = Bundler(log.publisher(), 2)
    await bundler.put([waiting, queued])
    await bundler.put([running], parked=True)
    await bundler.flush()
    assert on_lanes(log) == [[queued.id]]
    (parked,) = log.parked["default"]
    assert [each.envelope.id for each in Bundle.FromString(parked).publications] == [waiting.id, running.id]


async def test_a_record_that_cannot_be_read_holds_up_no_other_one(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    good = task()
    bundler = Bundler(log.publisher(), 2)
    with caplog.at_level(logging.ERROR):
        await bundler.put([Republication("bad", 1, b"\xff\xff"), good])
    await bundler.flush()
    assert on_lanes(log) == [[good.id]]
    assert [record.task_id for record in caplog.records] == ["bad"]  # type: ignore[attr-defined]
