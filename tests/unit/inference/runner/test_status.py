"""What a runner says of itself."""

from pathlib import Path

import pytest

from forebay.models.v1 import model_service_pb2 as models
from inference.engine import EngineKind, ModelCard
from inference.runner.settings import RunnerSettings
from inference.runner.status import StatusBoard, new_runner


def settings(version: int, *, highest: bool) -> RunnerSettings:
    return RunnerSettings(model="m", path=Path("m"), version=version, highest=highest)


@pytest.mark.parametrize(
    ("version", "highest", "answers_to", "also"),
    [(0, True, "m", ()), (0, False, "m", ()), (3, True, "m", ("m@3",)), (2, False, "m@2", ())],
)
def test_the_highest_version_answers_to_the_name_and_every_version_to_its_number(
    version: int, highest: bool, answers_to: str, also: tuple[str, ...]
) -> None:
    given = settings(version, highest=highest)
    assert (given.answers_to, given.also) == (answers_to, also)


async def test_the_card_tells_what_the_model_is_like() -> None:
    board = StatusBoard(new_runner("r", "m", "default", version=3, generation=2), lambda: 5)
    card = ModelCard(
        EngineKind.EMBED,
        "00" * 32,
        "CPUExecutionProvider",
        max_batch_size=8,
        stateful=True,
        dimensions=384,
        config=b"config",
    )
    board.ready(card, 4)
    status = board.status()
    assert (status.runner.version, status.runner.generation, status.runner.held) == (3, 2, 5)
    assert (status.model.name, status.model.version) == ("m", 3)
    assert status.model.engine == models.ENGINE_KIND_EMBED
    assert (status.model.max_batch_size, status.model.stateful) == (8, True)
    assert (status.model.dimensions, status.model.config) == (384, b"config")


async def test_a_model_that_cannot_be_loaded_is_known_with_its_version() -> None:
    board = StatusBoard(new_runner("r", "m", "default", version=3), lambda: 0)
    board.failed("no such file")
    assert (board.status().model.version, list(board.status().model.failures)) == (3, ["no such file"])
