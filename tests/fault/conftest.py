"""What every fault test starts from: a seed that it prints, models that cost nothing, a folder with a short path."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.tiny_models import save_add, save_countdown, save_picky

SEED: Final = "FOREBAY_FAULT_SEED"
SCALE: Final = int(os.environ.get("FOREBAY_FAULT_SCALE") or 1)
"""Numbers of tasks and of rounds are multiplied with it."""


@pytest.fixture
def chance() -> random.Random:
    """The test's random choices; the same again with FOREBAY_FAULT_SEED set to the printed number."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(1 << 32))
    print(f"{SEED}={seed}")  # noqa: T201  pytest shows it with a failure
    return random.Random(seed)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`add` (y = x + x) and `countdown` (work of any length)."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "add": save_add(folder / "add.onnx"),
        "countdown": save_countdown(folder / "countdown.onnx"),
    }


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`picky`, which fails for places over 3."""
    return {"picky": save_picky(tmp_path_factory.mktemp("failing") / "picky.onnx")}


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder whose path leaves room for the socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="fb-"))
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)
