"""All models of a host: folders that change, and what operators want. Made-up runners, real folders."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from forebay.models.v1.repository_view_pb2 import HeldModel, RepositoryView
from inference.agent.catalogue import Catalogue
from inference.agent.folders import Folders
from inference.agent.host import NEVER_CHANGED, Host
from inference.agent.settings import ModelControl
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.ports.membership import REPOSITORY_ROLE, Membership
from tests.unit.inference.agent.crews import FAILED, READY, Keepers

LONGEST_WAIT_S = 15.0


class Hurried(SystemClock):
    """Sleeps a tenth of the time, in which everything happens that would in all of it."""

    def monotonic(self) -> float:
        return 10 * super().monotonic()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


class Announced:
    """A directory that tells of each announcement."""

    def __init__(self, membership: Membership, announced: asyncio.Event) -> None:
        self.members = membership.members
        self.withdraw = membership.withdraw
        self.hold = membership.hold
        self._membership = membership
        self._announced = announced

    async def announce(self, role: str, member: str, card: bytes, ttl_ms: int) -> None:
        await self._membership.announce(role, member, card, 10 * ttl_ms)
        self._announced.set()


class World:
    """A host over real folders."""

    def __init__(self, repository: Path, control: ModelControl, **named: Path) -> None:
        clock = Hurried()
        self.repository = repository
        self.store = MemoryStore(clock)
        self.announced = asyncio.Event()
        self.keepers = Keepers()
        self.settled = asyncio.Event()
        self.host = Host(
            control,
            Folders(Catalogue(named, repository)),
            tuple(named),
            self.keepers.keep,
            Announced(self.store.membership, self.announced),
            self.store.wanted_models,
            clock,
            self.settled.set,
        )

    def model(self, name: str, version: int = 1) -> None:
        folder = self.repository / name / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").touch()

    async def want(self, model: str, *, loaded: bool) -> int:
        return await self.store.wanted_models.want(model, loaded=loaded)

    async def view(self) -> RepositoryView:
        cards = await self.store.membership.members(REPOSITORY_ROLE)
        return RepositoryView.FromString(cards[0][1]) if cards else RepositoryView()

    async def shows(self, condition: Callable[[dict[str, HeldModel]], bool], heard: int = 0) -> None:
        """Wait until the announced view meets a condition."""
        async with asyncio.timeout(LONGEST_WAIT_S):
            while True:
                view = await self.view()
                if view.agent and view.heard >= heard and condition({one.name: one for one in view.models}):
                    return
                await self.announced.wait()
                self.announced.clear()

    async def ready(self, *models: str) -> None:
        """Have each runner of these say that it is READY, and wait until all are settled."""
        await self.keepers.until(
            lambda: set(models) <= {one.post.model for one in self.keepers.made if one.running}
        )
        for one in self.keepers.made:
            if one.running and one.post.model in models:
                one.says(READY)
        await self.shows(lambda held: all(name in held and held[name].settled for name in models))


@asynccontextmanager
async def running(made: World) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.host.run())
        try:
            yield
        finally:
            task.cancel()
    assert await made.store.membership.members(REPOSITORY_ROLE) == []


def served(made: World) -> list[tuple[str, int, int]]:
    return sorted(
        (one.post.model, one.post.version, one.post.generation) for one in made.keepers.made if one.running
    )


async def test_all_models_of_the_repository_are_loaded_and_the_host_is_settled_when_they_are(
    tmp_path: Path,
) -> None:
    made = World(tmp_path, ModelControl.POLL, named=Path("/elsewhere"))
    made.model("a")
    made.model("b", 3)
    async with running(made):
        await made.ready("a", "named")
        assert not made.settled.is_set()
        made.keepers.made[[one.post.model for one in made.keepers.made].index("b")].says(FAILED, "no")
        await made.settled.wait()
        assert served(made) == [("a", 1, 1), ("b", 3, 1), ("named", 0, 1)]
        await made.shows(lambda held: held["b"].settled and held["b"].fault == "no")


async def test_folders_that_come_change_and_go_are_followed(tmp_path: Path) -> None:
    made = World(tmp_path, ModelControl.POLL)
    made.model("old")
    async with running(made):
        await made.ready("old")
        made.model("new")
        await made.ready("new")
        made.model("old", 2)
        await made.keepers.until(lambda: ("old", 2, 2) in served(made))
        await made.ready("old")
        await made.keepers.until(lambda: ("old", 1, 1) not in served(made))
        shutil.rmtree(tmp_path / "new")
        await made.shows(lambda held: list(held) == ["old"])
        await made.keepers.until(lambda: served(made) == [("old", 2, 2)])


async def test_what_operators_want_is_done_and_told_by_its_number(tmp_path: Path) -> None:
    made = World(tmp_path, ModelControl.POLL)
    made.model("m")
    async with running(made):
        await made.ready("m")
        number = await made.want("m", loaded=False)
        await made.shows(lambda held: held["m"].number == number and held["m"].settled, number)
        assert served(made) == []
        # It stays so, whatever happens to its folder, until it is wanted again.
        made.model("m", 2)
        await made.shows(lambda held: [one.version for one in held["m"].entries] == [1, 2])
        assert served(made) == []
        number = await made.want("m", loaded=True)
        await made.keepers.until(lambda: served(made) == [("m", 2, 2)])
        await made.ready("m")
        await made.shows(lambda held: held["m"].number == number and held["m"].settled, number)


async def test_a_wish_for_a_model_that_is_not_there_is_heard_and_nothing_else(tmp_path: Path) -> None:
    made = World(tmp_path, ModelControl.POLL)
    async with running(made):
        await made.shows(lambda held: not held)
        number = await made.want("nobody", loaded=True)
        await made.shows(lambda held: not held, number)
        assert made.keepers.made == []


async def test_a_folder_that_was_made_a_moment_ago_can_be_loaded(tmp_path: Path) -> None:
    made = World(tmp_path, ModelControl.EXPLICIT)
    async with running(made):
        await made.shows(lambda held: not held)
        made.model("m")
        await made.want("m", loaded=True)
        await made.ready("m")
        assert served(made) == [("m", 1, 1)]


async def test_explicit_control_loads_what_is_named_and_what_operators_had_loaded_and_follows_no_folders(
    tmp_path: Path,
) -> None:
    made = World(tmp_path, ModelControl.EXPLICIT, named=Path("/elsewhere"))
    for name in ("a", "b", "c"):
        made.model(name)
    await made.want("b", loaded=True)
    await made.want("c", loaded=False)
    async with running(made):
        await made.ready("named", "b")
        assert served(made) == [("b", 1, 1), ("named", 0, 1)]
        made.model("b", 2)
        made.model("d")
        await made.shows(lambda held: "d" in held and len(held["b"].entries) == 2)
        assert served(made) == [("b", 1, 1), ("named", 0, 1)]


async def test_what_was_unloaded_before_an_agent_began_is_loaded_by_it(tmp_path: Path) -> None:
    made = World(tmp_path, ModelControl.POLL)
    made.model("m")
    await made.want("m", loaded=False)
    async with running(made):
        await made.ready("m")
        assert served(made) == [("m", 1, 1)]


async def test_without_control_wishes_are_refused_with_the_reason_and_folders_are_not_followed(
    tmp_path: Path,
) -> None:
    made = World(tmp_path, ModelControl.NONE)
    made.model("m")
    async with running(made):
        await made.ready("m")
        number = await made.want("m", loaded=False)
        await made.shows(lambda held: held["m"].number == number and held["m"].fault == NEVER_CHANGED, number)
        assert served(made) == [("m", 1, 1)]


async def test_a_model_whose_folder_is_gone_goes_on_when_it_is_wanted_anew(tmp_path: Path) -> None:
    made = World(tmp_path, ModelControl.EXPLICIT)
    made.model("m")
    async with running(made):
        await made.shows(lambda held: "m" in held)
        await made.want("m", loaded=True)
        await made.ready("m")
        shutil.rmtree(tmp_path / "m")
        number = await made.want("m", loaded=True)
        await made.shows(lambda held: held["m"].settled and "does not exist" in held["m"].fault, number)
        assert served(made) == [("m", 1, 1)]
