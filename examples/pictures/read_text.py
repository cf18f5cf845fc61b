"""Read the text in a picture: find it, cut it into lines, read the lines.

    python examples/pictures/read_text.py picture.png

The models are those of make_repository.py. What they do takes two calls a picture and not one: how many lines there
are is known after the first only, and no graph of models has a number of runs that depends on its input. So what is
irregular, finding boxes, is here, in between, and everything regular is in the models. All lines are asked for at once,
over the direct way, and share runs; durable tasks would be the right thing for an archive of pictures, and not for
somebody who waits.

Lines may be upside down, but must be level: boxes are upright rectangles.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forebay.client import AsyncClient

Picture = NDArray[np.uint8]
"""Rows, columns, red green blue."""

TILE: Final = 32
"""The detector takes sides that are multiples of it."""
LIKELY: Final = 0.3
"""How likely a pixel must be in a line to count."""
SURE: Final = 0.5
"""How likely the pixels of a line must be, on average."""
SMALLEST: Final = 5
"""Height of a line in pixels, before it is widened."""
WIDENING: Final = 1.6
"""Boxes are found too small, because the detector was trained on shrunken ones: by so much of area over perimeter."""
HEIGHT: Final = 48
STEP: Final = 192
"""Lines are filled up to multiples of it, so that lines which are nearly as wide share a run."""
GREY: Final = 127
"""What they are filled up with: zero, to the recogniser."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle of pixels; right and bottom are just outside."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class Line:
    """What was read."""

    box: Box
    text: str
    confidence: float


def tiled(picture: Picture) -> Picture:
    """Return a picture with white to its right and below, so that the detector takes it."""
    height, width, _ = picture.shape
    return np.pad(picture, ((0, -height % TILE), (0, -width % TILE), (0, 0)), constant_values=255)


def regions(marked: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Return the pixels (row, column) of each region whose pixels touch along an edge."""
    left = {(int(row), int(column)) for row, column in np.argwhere(marked)}
    found = []
    while left:
        edge = [left.pop()]
        region = []
        while edge:
            row, column = edge.pop()
            region.append((row, column))
            beside = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)} & left
            left -= beside
            edge += beside
        found.append(np.array(region))
    return found


def boxes_of(likely: NDArray[np.float32], width: int, height: int) -> list[Box]:
    """Return where lines are, from the top, given how likely each pixel is in one."""
    boxes = []
    for region in regions(likely > LIKELY):
        top, left = region.min(axis=0)
        bottom, right = region.max(axis=0) + 1
        if bottom - top < SMALLEST or likely[region[:, 0], region[:, 1]].mean() < SURE:
            continue
        tall, wide = bottom - top, right - left
        more = round(WIDENING * tall * wide / (2 * (tall + wide)))
        boxes.append(
            Box(
                max(0, int(left) - more),
                max(0, int(top) - more),
                min(width, int(right) + more),
                min(height, int(bottom) + more),
            )
        )
    return sorted(boxes, key=lambda box: (box.top, box.left))


def line_of(picture: Picture, box: Box) -> Picture:
    """Cut a line out, as high as the recogniser wants it."""
    cut = Image.fromarray(picture).crop((box.left, box.top, box.right, box.bottom))
    width = max(1, round(HEIGHT * cut.width / cut.height))
    line = np.full((HEIGHT, -(-width // STEP) * STEP, 3), GREY, np.uint8)
    line[:, :width] = np.asarray(cut.resize((width, HEIGHT), Image.Resampling.BILINEAR))
    return line


async def read_line(client: AsyncClient, picture: Picture, box: Box) -> Line:
    """Read one line."""
    answer = await client.infer("line_reader", {"line": line_of(picture, box)[None]})
    characters: Sequence[Any] = answer.tensors["characters"][0].tolist()
    text = b"".join(characters).decode().strip()
    return Line(box, text, float(answer.tensors["confidence"][0, 0]))


async def read_picture(client: AsyncClient, picture: Picture) -> list[Line]:
    """Read a picture; lines from the top."""
    answer = await client.infer("text_finder", {"picture": tiled(picture)[None]})
    height, width, _ = picture.shape
    likely = np.asarray(answer.tensors["text"][0, 0], np.float32)
    boxes = boxes_of(likely[:height, :width], width, height)
    return await asyncio.gather(*(read_line(client, picture, box) for box in boxes))


async def main() -> None:
    """Read a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--address", default=os.environ.get("FOREBAY_ADDRESS", "127.0.0.1:7070"))
    args = parser.parse_args()
    picture = np.asarray(Image.open(args.picture).convert("RGB"))
    async with AsyncClient(args.address) as client:
        for line in await read_picture(client, picture):
            print(f"{line.confidence:.2f} {line.text}")


if __name__ == "__main__":
    asyncio.run(main())
