"""What a scheduler announces of the fleet and of its queues."""

import asyncio
from collections.abc import Mapping

import pytest

from forebay.dispatch.v1.scheduler_view_pb2 import ModelView, SchedulerView
from forebay.queues.v1.queue_service_pb2 import ListQueuesResponse
from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.task_pb2 import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NORMAL
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.lanes import Lane
from scheduler.policies.expected import Expected, Spent, Traits
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Policy
from scheduler.ports.log import Delivery
from scheduler.ports.membership import QUEUES_ROLE, VIEW_ROLE
from scheduler.ports.pauses import Pause
from scheduler.prediction.learned import LearnedCost
from scheduler.service.entry import OpenBundle, PoolWindow, Waiting
from scheduler.service.pauses import Pauses
from scheduler.service.queue_report import QueueReport
from scheduler.service.rates import Rates
from scheduler.service.runners import Roster, RunnerStream
from scheduler.service.steadiness import Steadiness
from scheduler.service.view import MOST_COSTS, MOST_MODELS, MOST_USES, Views
from scheduler.states import Level
from scheduler.waiting import WaitingTask


class World:
    """The parts of a scheduler that views are made of."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.window = PoolWindow(256, DEFAULT_POLICY)
        self.roster = Roster()
        self.rates = Rates(self.clock)
        self.costs = LearnedCost()
        windows = {"default": self.window}
        self.views = Views("s1", windows, self.roster, self.rates, {"default": self.costs}, self.clock)
        self.store = MemoryStore(self.clock)
        self.pauses = Pauses(self.store.pauses, windows, asyncio.Event(), self.clock)
        self.report = QueueReport(
            *("s1", "127.0.0.1:1", self.store.membership, windows, self.rates, self.pauses, self.views),
            *(DEFAULT_POLICY, self.clock, ""),
        )

    def runner(self, name: str, model: str = "m", credits: int = 2, slots: int = 1) -> RunnerStream:
        stream = RunnerStream(name, model, "default", credits, slots=slots)
        self.roster.add(stream)
        return stream

    def task(
        self, number: int, tenant: str = "a", level: Level = Level.NORMAL, model: str = "m", index: int = 3
    ) -> Waiting:
        lane = Lane("default", level, index)
        bundle = OpenBundle(Delivery(lane, b"", {}, None), 1)
        now_ms = self.clock.now_ms()
        return WaitingTask(
            *(f"07-{number}", 1, model, lane, now_ms, Envelope(), bundle),
            tenant=tenant,
            expected=Expected(50.0, 50.0),
        )

    def model(self, name: str = "m", version: int = 0) -> ModelView:
        [pool] = self.views.view(version).pools
        return next(model for model in pool.models if model.model == name)

    async def cards(self, role: str) -> Mapping[str, bytes]:
        return dict(await self.store.membership.members(role))


def test_a_model_that_waiting_tasks_ask_for_by_another_name_has_the_runners_of_it() -> None:
    world = World()
    world.runner("r1").also = ("m@2",)
    assert [model.model for model in world.views.view(0).pools[0].models] == ["m"]
    world.window.add(world.task(1, model="m@2"))
    shown = world.model("m@2")
    assert (shown.runners, shown.free) == (1, 2)


def test_runners_their_credit_and_who_uses_it_are_shown() -> None:
    world = World()
    first, second = world.runner("r1", credits=1), world.runner("r2", credits=3, slots=4)
    first.hold(world.task(1), 1)
    first.hold(world.task(2, level=Level.LOW), 1)
    second.hold(world.task(3, tenant="b"), 1)
    second.leasing.add("07-9")
    model = world.model()
    assert (model.runners, model.slots, model.credit, model.free, model.broken) == (2, 5, 8, 4, 0)
    assert {(use.priority, use.tenant): use.tasks for use in model.uses} == {
        (PRIORITY_NORMAL, "a"): 1,
        (PRIORITY_LOW, "a"): 1,
        (PRIORITY_NORMAL, "b"): 1,
    }


def test_a_runner_that_failed_too_often_is_broken_and_has_nothing_free() -> None:
    world = World()
    bad, good = world.runner("r1"), world.runner("r2", credits=1)
    for _ in range(8):
        world.roster.outcome(good, [False], world.clock.monotonic())
        world.roster.outcome(bad, [True], world.clock.monotonic())
    model = world.model()
    assert (model.runners, model.broken, model.free) == (2, 1, 1)


def test_a_model_that_tasks_wait_for_is_shown_without_a_runner() -> None:
    world = World()
    world.window.add(world.task(1, model="wanted"))
    model = world.model("wanted")
    assert (model.runners, model.credit) == (0, 0)


def test_a_rate_is_told_only_of_a_model_that_has_been_busy_for_a_while() -> None:
    world = World()
    world.runner("r1", credits=0)
    assert world.model().work_rate == 0
    for _ in range(8):
        world.clock.advance(0.5)
        world.rates.worked("default", Level.NORMAL, "m", 450.0)
        world.rates.started("default", Level.NORMAL, "m", 2)
    world.clock.advance(0.49)
    model = world.model()
    assert model.work_rate == pytest.approx(900.0, rel=0.01)
    assert model.start_rate == 1.6


def test_how_far_a_rate_moves_is_told_and_what_was_before_a_rest_does_not_count() -> None:
    world = World()
    stream = world.runner("r1", credits=0)
    usual = world.model().rate_spread
    assert usual == Steadiness().spread
    for rate in (40, 10, 40, 10):
        for _ in range(10):
            world.clock.advance(1)
            world.rates.started("default", Level.NORMAL, "m", rate)
            world.model()
    spread = world.model().rate_spread
    assert spread > usual + 0.1
    stream.credits = 1
    assert world.model().rate_spread == spread


def test_a_model_that_has_room_and_no_work_begins_anew() -> None:
    world = World()
    stream = world.runner("r1", credits=0)
    world.model()
    world.clock.advance(5)
    stream.credits = 1
    world.rates.worked("default", Level.NORMAL, "m", 900.0)
    assert world.model().work_rate == 0
    stream.credits = 0
    assert world.model().work_rate == 0


def test_what_tasks_cost_is_shown_as_it_was_learned() -> None:
    world = World()
    for _ in range(50):
        world.costs.learn(Traits("m", "a", int(Level.HIGH)), Spent(40.0, 80.0))
    [pool] = world.views.view(7).pools
    found = {(cost.model, cost.tenant, int(cost.priority)): cost for cost in pool.costs}
    assert set(found) == {("m", "", 0), ("m", "a", PRIORITY_HIGH)}
    assert 30 < found["m", "a", PRIORITY_HIGH].work_ms < 50
    assert found["m", "", 0].execute_ms > 60


def test_a_view_is_bounded_whatever_clients_make_up() -> None:
    world = World()
    stream = world.runner("r1", credits=0)
    for number in range(300):
        world.window.add(world.task(number, model=f"made-up-{number}"))
        stream.hold(world.task(1000 + number, tenant=f"t{number}"), 1)
        for _ in range(2):
            world.costs.learn(Traits("m", f"t{number}", 3), Spent(1.0, 1.0))
    view = world.views.view(0)
    [pool] = view.pools
    assert len(pool.models) == MOST_MODELS
    assert pool.models[0].model == "m"
    assert len(pool.costs) <= MOST_COSTS
    assert len(pool.models[0].uses) <= MOST_USES
    assert sum(use.tasks for use in pool.models[0].uses) == 300
    assert view.ByteSize() < 32_768


def test_rates_of_a_queue_stand_on_the_first_lane_that_is_read() -> None:
    world = World()
    world.window.extend(Lane("default", Level.NORMAL, 3), [world.task(1), world.task(2)])
    world.window.extend(Lane("default", Level.NORMAL, 8), [world.task(3, index=8)])
    world.rates.arrived("default", Level.NORMAL, 3)
    world.clock.advance(2)
    world.rates.arrived("default", Level.NORMAL, 6)
    world.rates.started("default", Level.NORMAL, "m", 20)
    world.rates.worked("default", Level.NORMAL, "m", 5000.0)
    [pool] = world.views.view(0).pools
    assert [(lane.index, lane.in_window) for lane in pool.lanes] == [(3, 2), (8, 1)]
    first, express = pool.lanes
    assert (first.arrived_per_second, first.started_per_second, first.work_rate) == (0.9, 2.0, 500.0)
    assert (first.steady_per_second, first.coming_s) == (0.9, 2)
    assert (express.arrived_per_second, express.work_rate) == (0, 0)


async def test_the_view_and_the_queues_are_announced_and_taken_away() -> None:
    world = World()
    await world.pauses.refresh()
    world.window.add(world.task(1))
    world.rates.worked("default", Level.NORMAL, "m", 3000.0)
    world.rates.worked("default", Level.LOW, "m", 1000.0)
    world.clock.advance(4)
    await world.report.announce()
    cards = await world.cards(VIEW_ROLE)
    assert SchedulerView.FromString(cards["s1"]).member == "s1"
    queues = ListQueuesResponse.FromString((await world.cards(QUEUES_ROLE))["s1"]).queues
    normal, low = queues[2], queues[3]
    assert (normal.share_got, low.share_got) == (0.75, 0.25)
    assert round(normal.share, 3) == round(4 / 85, 3)
    assert normal.oldest_age.seconds == 4
    assert normal.queued_work.ToMilliseconds() == 50
    assert not low.HasField("oldest_age") and not low.paused
    await world.report.withdraw()
    assert not await world.cards(VIEW_ROLE)


async def test_the_report_goes_by_the_policy_that_stands_and_says_which_one_it_is() -> None:
    world = World()
    world.report.follow(Policy(level_mode=LevelMode.STRICT), 4)
    await world.store.pauses.pause(Pause(level=int(Level.LOW)), "")
    await world.pauses.refresh()
    await world.report.announce()
    assert SchedulerView.FromString((await world.cards(VIEW_ROLE))["s1"]).policy_version == 4
    queues = ListQueuesResponse.FromString((await world.cards(QUEUES_ROLE))["s1"]).queues
    assert [queue.share for queue in queues] == [1.0, 0, 0, 0]
    assert [queue.paused for queue in queues] == [False, False, False, True]
