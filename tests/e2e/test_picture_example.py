"""The example that reads text in pictures, with the real networks, on a picture that is drawn here."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.fixtures.components import missing
from tests.system import System, forebay_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the first run fetches 15 MB, three times

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "pictures"
LINES: Final = ("Forebay reads pictures", "Order 4711, paid 25 EUR", "All lines share a run")
UPSIDE_DOWN: Final = "upside down works"
WIDTH: Final = 700


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "repository"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "make_repository.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "ModelUnusable" in done.stderr:
        missing("the models of rapidocr-onnxruntime", done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def serving(repository: Path) -> Iterator[System]:
    # Not below pytest's own folder: the path of a socket inside must stay under 108 bytes.
    models = {name: repository / name for name in ("text_finder", "line_reader")}
    with (
        tempfile.TemporaryDirectory(prefix="forebay-pictures-") as data,
        forebay_up(Path(data), models) as running,
    ):
        yield running


def test_every_part_of_the_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLE.glob("*.py")} == {"make_repository.py", "read_text.py"}


def written(text: str, size: int) -> Image.Image:
    """Return a strip of a picture with text on it."""
    strip = Image.new("RGB", (WIDTH, 2 * size), "white")
    ImageDraw.Draw(strip).text((size, size // 3), text, "black", font=ImageFont.load_default(size))
    return strip


def read(system: System, picture: Image.Image, file: Path) -> list[tuple[float, str]]:
    picture.save(file)
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "read_text.py"), str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FOREBAY_ADDRESS": system.grpc},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line.partition(" ") for line in done.stdout.splitlines()]
    return [(float(confidence), text) for confidence, _, text in said]


def test_what_was_drawn_is_read_also_upside_down(serving: System, tmp_path: Path) -> None:
    strips = [written(text, 30 + 3 * at) for at, text in enumerate(LINES)]
    strips.append(written(UPSIDE_DOWN, 34).rotate(180))
    picture = Image.new("RGB", (WIDTH, sum(strip.height for strip in strips) + 90), "white")
    top = 20
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height + 10
    found = read(serving, picture, tmp_path / "drawn.png")
    assert [text for _, text in found] == [*LINES, UPSIDE_DOWN]
    assert all(confidence > 0.9 for confidence, _ in found)


def test_a_picture_without_text_has_no_lines(serving: System, tmp_path: Path) -> None:
    assert read(serving, Image.new("RGB", (320, 200), "white"), tmp_path / "empty.png") == []
