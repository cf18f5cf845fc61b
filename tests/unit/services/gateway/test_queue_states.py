"""Queues as they are shown to those who ask."""

from google.protobuf.duration_pb2 import Duration

from forebay.dispatch.v1.scheduler_view_pb2 import SchedulerView
from forebay.queues.v1.queue_service_pb2 import ListQueuesResponse, Queue
from forebay.tasks.v1.task_pb2 import PRIORITY_HIGH, PRIORITY_NORMAL, Priority
from scheduler.ports.lines import Line
from scheduler.states import Level
from services.gateway.caller import Caller
from services.gateway.fleet_view import FleetView
from services.gateway.queue_states import fill_lanes, fill_tenants, merged
from tests.unit.services.gateway.explained import serving

NORMAL = ("default", int(PRIORITY_NORMAL))


def line(
    tenant: str, queued: int, *, model: str = "m", running: int = 0, level: Level = Level.NORMAL
) -> Line:
    return Line("default", level, tenant, model, queued, running, 0)


def fleet(*members: str, in_window: int = 0, work_ms: float = 100.0) -> FleetView:
    views = []
    for member in members:
        view = SchedulerView(member=member, pools=[serving(work_ms=work_ms)])
        view.pools[0].lanes.add(priority=PRIORITY_NORMAL, index=1, in_window=in_window, work_rate=300.0)
        view.pools[0].lanes.add(priority=PRIORITY_HIGH, index=8, work_rate=100.0)
        views.append(view.SerializeToString())
    return FleetView.of(views)


def test_the_lines_of_a_queue_add_up_with_the_work_that_waits() -> None:
    lines = [line("a", 3), line("b", 4, running=2), line("b", 1, model="unknown")]
    queue = merged(lines, (), fleet("s1"))[NORMAL]
    assert (queue.depth, queue.running) == (8, 2)
    assert queue.queued_work.ToMilliseconds() == 701


def test_without_a_scheduler_counts_stand_and_nothing_is_made_up() -> None:
    queue = merged([line("a", 3)], (), FleetView())[NORMAL]
    assert queue == Queue(pool="default", priority=PRIORITY_NORMAL, depth=3, queued_work=Duration())


def test_rates_of_several_schedulers_add_up_and_what_cannot_be_read_is_left_out() -> None:
    card = ListQueuesResponse()
    card.queues.add(
        pool="default",
        priority=PRIORITY_NORMAL,
        arrived_per_second=2.0,
        started_per_second=3.0,
        finished_per_second=4.0,
        share=0.25,
    )
    nonsense = ListQueuesResponse(queues=[Queue(pool="default", priority=Priority.ValueType(0))])
    cards = [card.SerializeToString()] * 2 + [b"\xff", nonsense.SerializeToString()]
    queues = merged((), cards, fleet("s1", "s2"))
    queue = queues[NORMAL]
    assert (queue.arrived_per_second, queue.started_per_second, queue.finished_per_second) == (4, 6, 8)
    assert (queue.share, queue.share_got) == (0.25, 0.75)
    assert ("default", 0) not in queues


def test_operators_see_the_ten_tenants_with_most_and_others_only_themselves() -> None:
    lines = [line(f"t{n:02}", n) for n in range(1, 15)] + [line("t14", 5, model="other", running=7)]
    queues = merged(lines, (), fleet("s1"))
    fill_tenants(queues, lines, fleet("s1"), Caller("t03", operator=True))
    shown = queues[NORMAL].tenants
    assert [load.tenant for load in shown] == [f"t{n:02}" for n in range(14, 4, -1)]
    assert (shown[0].queued, shown[0].running, shown[0].queued_work.ToMilliseconds()) == (19, 7, 1405)
    queues = merged(lines, (), fleet("s1"))
    fill_tenants(queues, lines, fleet("s1"), Caller("t03"))
    assert [load.tenant for load in queues[NORMAL].tenants] == ["t03"]


def test_each_lane_names_the_scheduler_that_has_it() -> None:
    queues = merged([line("a", 1)], (), fleet("s1"))
    fill_lanes(queues, fleet("s1", in_window=5), 8)
    lanes = queues[NORMAL].lanes
    assert [lane.index for lane in lanes] == list(range(9))
    assert (lanes[1].scheduler, lanes[1].in_window) == ("s1", 5)
    assert lanes[0].scheduler == "" and lanes[8].scheduler == ""
    assert queues["default", int(PRIORITY_HIGH)].lanes[8].scheduler == "s1"


def test_schedulers_share_credit_and_know_the_same_runners() -> None:
    views = FleetView.of(
        SchedulerView(member=name, pools=[serving(runners=2, free=3, broken=broken)]).SerializeToString()
        for name, broken in (("s1", 1), ("s2", 0))
    )
    model = views.pools["default"].models["m"]
    assert (model.runners, model.broken, model.free, model.credit) == (2, 0, 6, 8)
    assert views.schedulers == ["s1", "s2"]
