"""Queues as they are shown: counts from the records, exact; ages, rates and shares as the schedulers announce them;
expected work from both. Called by `queue_service.py` and `fleet_metrics.py`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from forebay.queues.v1.queue_service_pb2 import ListQueuesResponse, Queue, TenantLoad
from forebay.tasks.v1.task_pb2 import Priority
from scheduler.ports.lines import Line
from scheduler.states import Level
from services.gateway.caller import Caller
from services.gateway.fleet_view import FleetView, PoolKnown

MOST_TENANTS: Final = 10

_LEVELS: Final = frozenset(int(level) for level in Level)

Key = tuple[str, int]
"""A queue: its pool and the number of its level."""


def merged(lines: Iterable[Line], cards: Iterable[bytes], fleet: FleetView) -> dict[Key, Queue]:
    """Join the counts and the schedulers' announcements: the oldest age, the sum of the rates, the largest share.

    Sorted by pool and level.
    """
    queues: dict[Key, Queue] = {}

    def of(pool: str, level: int) -> Queue:
        known = queues.get((pool, level))
        if known is None:
            known = queues[pool, level] = Queue(pool=pool, priority=Priority.ValueType(level))
        return known

    work_ms: dict[Key, float] = {}
    for line in lines:
        queue = of(line.pool, line.level)
        queue.depth += line.queued
        queue.running += line.running
        queue.waiting += line.waiting
        key = line.pool, int(line.level)
        work_ms[key] = work_ms.get(key, 0.0) + _work_ms(line, fleet)
    for key, work in work_ms.items():
        queues[key].queued_work.FromMilliseconds(round(work))
    for card in cards:
        for seen in _queues_of(card):
            if seen.priority in _LEVELS:
                _join(of(seen.pool, seen.priority), seen)
    for name, pool in fleet.pools.items():
        worked = sum(flow.work_rate for flow in pool.flows.values())
        for level, flow in pool.flows.items():
            if worked > 0:
                of(name, level).share_got = flow.work_rate / worked
    return {key: queues[key] for key in sorted(queues)}


def fill_tenants(queues: dict[Key, Queue], lines: Iterable[Line], fleet: FleetView, caller: Caller) -> None:
    """Write who waits or runs most into each queue, as far as the caller may know."""
    loads: dict[Key, dict[str, TenantLoad]] = {}
    works_ms: dict[tuple[str, int, str], float] = {}
    for line in lines:
        if (line.queued <= 0 and line.running <= 0) or not (caller.operator or line.tenant == caller.tenant):
            continue
        of_queue = loads.setdefault((line.pool, int(line.level)), {})
        load = of_queue.get(line.tenant)
        if load is None:
            load = of_queue[line.tenant] = TenantLoad(tenant=line.tenant)
        load.queued += line.queued
        load.running += line.running
        key = line.pool, int(line.level), line.tenant
        works_ms[key] = works_ms.get(key, 0.0) + _work_ms(line, fleet)
    for (pool, level), of_queue in loads.items():
        ranked = sorted(of_queue.values(), key=lambda load: (-load.queued, -load.running, load.tenant))
        for load in ranked[:MOST_TENANTS]:
            load.queued_work.FromMilliseconds(round(works_ms[pool, level, load.tenant]))
        queues[pool, level].tenants.extend(ranked[:MOST_TENANTS])


def fill_lanes(queues: dict[Key, Queue], fleet: FleetView, lanes: int) -> None:
    """Write the lanes of each queue and who reads them; `lanes` is how many tenants share, behind which comes the
    express lane.
    """
    for (name, number), queue in queues.items():
        readers = fleet.pools.get(name, PoolKnown()).readers
        for index in range(lanes + 1):
            member, in_window = readers.get((Level(number), index), ("", 0))
            queue.lanes.add(index=index, scheduler=member, in_window=in_window)


def _join(queue: Queue, seen: Queue) -> None:
    """Add what one scheduler announces of a queue."""
    queue.finished_per_second += seen.finished_per_second
    queue.arrived_per_second += seen.arrived_per_second
    queue.started_per_second += seen.started_per_second
    queue.share = max(queue.share, seen.share)
    older = seen.oldest_age.ToNanoseconds() > queue.oldest_age.ToNanoseconds()
    # An age that was announced a moment ago says nothing about a queue that is empty now.
    if seen.HasField("oldest_age") and queue.depth and (older or not queue.HasField("oldest_age")):
        queue.oldest_age.CopyFrom(seen.oldest_age)


def _work_ms(line: Line, fleet: FleetView) -> float:
    """Return the expected work of what waits in a line; 0 where nobody knows what such tasks cost."""
    pool = fleet.pools.get(line.pool)
    return line.queued * pool.cost(line.model, line.tenant, line.level).work_ms if pool else 0.0


def _queues_of(card: bytes) -> Sequence[Queue]:
    try:
        return ListQueuesResponse.FromString(card).queues
    except DecodeError:
        return ()
