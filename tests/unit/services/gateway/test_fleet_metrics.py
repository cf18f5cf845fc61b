"""What the gateway's metrics page tells of the fleet."""

import json

import pytest

from forebay.dispatch.v1.scheduler_view_pb2 import SchedulerView
from forebay.models.v1.model_service_pb2 import Runner
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from forebay.tasks.v1.task_pb2 import PRIORITY_HIGH, PRIORITY_LOW
from observability import names
from observability.metrics import GatewayMetrics, new_registry
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import RecordsUnavailable
from scheduler.ids import new_ids
from scheduler.ports.lines import Line
from scheduler.ports.membership import VIEW_ROLE
from scheduler.ports.records import NewTask
from scheduler.states import Level
from services.gateway.fleet_metrics import FleetMetrics
from tests.unit.services.gateway.explained import serving

LOW = {"pool": "default", "level": "low"}


async def test_a_page_shows_what_waits_now() -> None:
    store, registry = MemoryStore(FakeClock()), new_registry()
    fleet = FleetMetrics(store.lines, store.membership, GatewayMetrics(registry))
    tasks = [NewTask(i, "t", "default", Level.LOW, b"", 3) for i in new_ids(1, 5, 0)]
    await store.records.create(tasks)
    view = SchedulerView(pools=[serving(model="", work_ms=400.0)])
    view.pools[0].lanes.add(priority=PRIORITY_LOW, index=2, work_rate=250.0)
    view.pools[0].lanes.add(priority=PRIORITY_HIGH, index=2, work_rate=750.0)
    await store.membership.announce(VIEW_ROLE, "s1", view.SerializeToString(), 1000)
    await fleet.refresh()
    assert registry.get_sample_value(names.QUEUE_DEPTH, LOW) == 5
    assert registry.get_sample_value(names.QUEUE_WORK, LOW) == 2.0
    assert registry.get_sample_value(names.QUEUE_SHARE_GOT, LOW) == 0.25


async def test_without_the_store_the_page_shows_no_old_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    store, registry = MemoryStore(FakeClock()), new_registry()
    fleet = FleetMetrics(store.lines, store.membership, GatewayMetrics(registry))
    await store.records.create([NewTask(new_ids(1, 1, 0)[0], "t", "default", Level.LOW, b"", 3)])
    await fleet.refresh()

    async def away() -> list[Line]:
        raise RecordsUnavailable("away")

    monkeypatch.setattr(store.lines, "lines", away)
    await fleet.refresh()
    assert registry.get_sample_value(names.QUEUE_DEPTH, LOW) is None


async def test_prometheus_finds_the_pages_of_schedulers_and_runners() -> None:
    store = MemoryStore(FakeClock())
    fleet = FleetMetrics(store.lines, store.membership, GatewayMetrics(new_registry()))
    card = WatchStatusResponse(runner=Runner(id="r1", model="add", metrics_address="127.0.0.1:9"))
    silent = WatchStatusResponse(runner=Runner(id="r2", model="add"))
    await store.membership.announce("metrics", "s1", b"127.0.0.1:8", 1000)
    await store.membership.announce("runner", "r1", card.SerializeToString(), 1000)
    await store.membership.announce("runner", "r2", silent.SerializeToString(), 1000)
    await store.membership.announce("runner", "broken", b"\xff\xff", 1000)
    assert json.loads(await fleet.targets()) == [
        {"targets": ["127.0.0.1:8"], "labels": {"service": "scheduler", "member": "s1"}},
        {"targets": ["127.0.0.1:9"], "labels": {"service": "runner", "member": "r1", "model": "add"}},
    ]
