"""One model through its life: made-up runners, a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from forebay.models.v1 import model_service_pb2 as models
from inference.agent.served_model import OVERLAP_S, ServedModel
from inference.agent.view import NOT_CHOSEN, NOT_LOADED, held_model
from inference.repository.listing import ListedModel
from scheduler.adapters.clock import FakeClock
from tests.unit.inference.agent.crews import FAILED, LOADING, READY, UNSPECIFIED, Keepers, listed

DRAINING = models.RUNNER_STATE_DRAINING


class Stage:
    """One served model with what stands around it."""

    def __init__(self, model: ListedModel, *, loaded: bool = True) -> None:
        self.clock = FakeClock()
        self.keepers = Keepers()
        self.model = ServedModel(model, self.keepers.keep, self.clock, self.keepers.changed, loaded=loaded)

    async def settles(self) -> None:
        await self.keepers.until(lambda: self.model.settled)

    async def overlap_ends(self) -> None:
        await self.clock.until_asleep()
        self.clock.advance(OVERLAP_S)

    def states(self) -> dict[int, tuple[int, str]]:
        return {entry.version: (entry.state, entry.reason) for entry in held_model(self.model).entries}


@asynccontextmanager
async def stage(model: ListedModel | None = None, *, loaded: bool = True) -> AsyncIterator[Stage]:
    made = Stage(model or listed(), loaded=loaded)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.model.run())
        try:
            yield made
        finally:
            made.keepers.ends.set()
            running.cancel()


async def test_a_model_is_settled_once_every_instance_is_ready() -> None:
    async with stage(listed(instances=2)) as on:
        first, second = await on.keepers.runs(1, 2)
        assert not held_model(on.model).settled
        first.says(READY)
        assert on.states() == {1: (READY, "")}
        assert not on.model.settled
        second.says(READY)
        await on.settles()
        held = held_model(on.model)
        assert (list(held.runners), list(held.leaving), held.fault) == (["r1", "r2"], [], "")


async def test_a_model_that_is_not_wanted_is_not_loaded_until_it_is_asked_for() -> None:
    async with stage(loaded=False) as on:
        await on.settles()
        assert on.keepers.made == []
        assert on.states() == {1: (UNSPECIFIED, NOT_LOADED)}
        on.model.load(listed(), 7)
        [one] = await on.keepers.runs(1)
        one.says(READY)
        await on.settles()
        assert held_model(on.model).number == 7
        assert on.states() == {1: (READY, "")}


async def test_what_is_loaded_anew_starts_beside_what_serves_and_takes_over_when_all_of_it_is_ready() -> None:
    async with stage() as on:
        [old] = await on.keepers.runs(1)
        old.says(READY)
        await on.settles()
        on.model.load(listed(instances=2), 5)
        old, new, other = await on.keepers.runs(1, 2, 3)
        assert (new.post.generation, other.post.number) == (2, 1)
        new.says(READY)
        assert list(held_model(on.model).runners) == ["r1"] and not on.model.settled
        other.says(READY)
        await on.settles()
        held = held_model(on.model)
        assert (list(held.runners), list(held.leaving), held.number) == (["r2", "r3"], ["r1"], 5)
        # Both serve until everybody has noticed.
        assert old.running and not old.asked_to_end
        await on.overlap_ends()
        await on.keepers.runs(2, 3)
        await on.keepers.until(lambda: not held_model(on.model).leaving)


async def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one_serving_and_is_shown() -> None:
    async with stage() as on:
        [old] = await on.keepers.runs(1)
        old.says(READY)
        await on.settles()
        on.model.load(listed(versions=(1, 2)), 5)
        _, again, broken = await on.keepers.runs(1, 2, 3)
        again.says(READY)
        broken.says(FAILED, "no weights")
        await on.settles()
        await on.keepers.runs(1)
        assert not old.asked_to_end
        assert on.states() == {1: (READY, ""), 2: (FAILED, "no weights")}
        assert held_model(on.model).fault == "no weights"


async def test_a_version_that_changed_and_cannot_be_loaded_is_still_ready_with_the_reason() -> None:
    async with stage() as on:
        (await on.keepers.runs(1))[0].says(READY)
        await on.settles()
        on.model.load(listed())
        (await on.keepers.runs(1, 2))[1].says(FAILED, "not ONNX")
        await on.settles()
        assert on.states() == {1: (READY, "not ONNX")}
        on.model.load(listed())
        good = (await on.keepers.runs(1, 3))[1]
        good.says(READY)
        await on.settles()
        assert on.states() == {1: (READY, "")}
        assert held_model(on.model).fault == ""


async def test_a_configuration_with_a_fault_changes_nothing_that_serves() -> None:
    async with stage() as on:
        (await on.keepers.runs(1))[0].says(READY)
        await on.settles()
        on.model.load(listed(fault="config.pbtxt:1:1: nonsense"), 3)
        await on.settles()
        await on.keepers.runs(1)
        held = held_model(on.model)
        assert (held.fault, held.number) == ("config.pbtxt:1:1: nonsense", 3)
        assert (READY, "config.pbtxt:1:1: nonsense") in on.states().values()


async def test_new_runners_that_die_three_times_before_they_are_ready_do_not_take_over() -> None:
    async with stage() as on:
        (await on.keepers.runs(1))[0].says(READY)
        await on.settles()
        on.model.load(listed())
        new = (await on.keepers.runs(1, 2))[1]
        new.says(UNSPECIFIED, "its runner died: signal SIGKILL", deaths=2)
        new.says(LOADING, deaths=2)
        assert not on.model.settled
        new.says(UNSPECIFIED, "its runner died: signal SIGKILL", deaths=3)
        await on.settles()
        await on.keepers.runs(1)
        assert "SIGKILL" in held_model(on.model).fault


async def test_a_model_that_could_not_be_used_is_replaced_at_once_when_its_folder_changes() -> None:
    async with stage(listed(fault="broken")) as on:
        [old] = await on.keepers.runs(1)
        old.says(FAILED, "broken")
        await on.settles()
        assert held_model(on.model).fault == "broken"
        on.model.load(listed())
        [new] = await on.keepers.runs(2)
        new.says(READY)
        await on.settles()
        assert (on.states(), held_model(on.model).fault) == ({1: (READY, "")}, "")


async def test_unloading_is_done_once_the_runners_have_ended() -> None:
    async with stage() as on:
        [one] = await on.keepers.runs(1)
        one.says(READY)
        await on.settles()
        on.keepers.ends.clear()
        on.model.unload(4)
        await on.keepers.until(lambda: one.asked_to_end)
        held = held_model(on.model)
        assert (held.settled, list(held.runners), list(held.leaving)) == (False, [], ["r1"])
        assert on.states() == {1: (DRAINING, "")}
        on.keepers.ends.set()
        await on.settles()
        assert on.states() == {1: (UNSPECIFIED, NOT_LOADED)}


async def test_a_wish_that_comes_while_another_is_carried_out_takes_its_place() -> None:
    async with stage() as on:
        (await on.keepers.runs(1))[0].says(READY)
        await on.settles()
        on.model.load(listed(), 1)
        await on.keepers.runs(1, 2)
        on.model.load(listed(), 2)
        new = (await on.keepers.runs(1, 3))[1]
        on.model.unload(3)
        await on.settles()
        await on.keepers.runs()
        assert new.asked_to_end and held_model(on.model).number == 3
        on.model.load(listed(), 4)
        (await on.keepers.runs(4))[0].says(READY)
        await on.settles()
        assert on.states() == {1: (READY, "")}


async def test_a_third_crew_waits_until_the_first_has_left() -> None:
    async with stage() as on:
        (await on.keepers.runs(1))[0].says(READY)
        await on.settles()
        on.model.load(listed(), 1)
        (await on.keepers.runs(1, 2))[1].says(READY)
        await on.settles()
        on.model.load(listed(), 2)
        await on.clock.until_asleep()
        assert len(on.keepers.made) == 2
        on.clock.advance(OVERLAP_S)
        (await on.keepers.runs(2, 3))[1].says(READY)
        await on.settles()
        assert list(held_model(on.model).runners) == ["r3"]


async def test_versions_that_the_policy_leaves_out_are_shown_with_the_reason() -> None:
    both = ListedModel("m", listed().path, (2,), (1, 2))
    async with stage(both) as on:
        (await on.keepers.runs(1))[0].says(READY)
        assert on.states() == {1: (UNSPECIFIED, NOT_CHOSEN), 2: (READY, "")}


async def test_all_runners_drain_when_the_agent_ends() -> None:
    async with stage() as on:
        (await on.keepers.runs(1))[0].says(READY)
        await on.settles()
        on.model.load(listed())
        (await on.keepers.runs(1, 2))[1].says(READY)
        await on.settles()
    assert all(one.asked_to_end and not one.running for one in on.keepers.made)
