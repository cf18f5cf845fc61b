"""A system of another sort than the shared one, for tests of the runner's own order."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from forebay.client import Client
from tests.system import System, forebay_up

RUNNER_CREDIT: Final = 1024
"""Tasks that the runner of `greedy_system` takes from its scheduler; what it does not run waits there by level."""


@pytest.fixture(scope="module")
def greedy_system(tiny_models: dict[str, Path]) -> Iterator[System]:
    """A system whose runner of `countdown` takes many tasks, however long they last: others take what they do in a
    tenth of a second, and all other tasks wait at the scheduler.
    """
    variables = {"FOREBAY_RUNNER_CREDITS": str(RUNNER_CREDIT)}
    # Not below pytest's own folder: the path of a socket inside must stay under 108 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="forebay-greedy-") as data,
        forebay_up(Path(data), {"countdown": tiny_models["countdown"]}, environment=variables) as running,
    ):
        yield running


@pytest.fixture
def greedy(greedy_system: System) -> Iterator[Client]:
    """A client of that system."""
    with Client(greedy_system.grpc) as opened:
        yield opened
