"""Line charts as SVG: several panels over one horizontal axis, nothing but text and lines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
PANEL_HEIGHT = 190
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 34, 44
COLOURS = ("#1b6ca8", "#d1603d", "#4f8a3c")
INK, GRID = "#444", "#ddd"


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    name: str
    values: Sequence[float]
    """One for each place on the horizontal axis."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that share a vertical axis."""

    title: str
    lines: Sequence[Line]
    logarithmic: bool = False


def draw(title: str, across: str, places: Sequence[float], panels: Sequence[Panel]) -> str:
    """Return an SVG of panels below each other; `across` names the axis that `places` lie on."""
    height = TOP + len(panels) * PANEL_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        _text(LEFT, 18, title, weight="bold"),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * PANEL_HEIGHT, across, places)
    return "\n".join([*parts, "</svg>", ""])


def ticks(highest: float) -> list[float]:
    """Return round numbers from 0 to at least `highest`, four to seven of them."""
    step = 10.0 ** math.floor(math.log10(highest / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if step * factor * 6 >= highest)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def decades(lowest: float, highest: float) -> list[float]:
    """Return the powers of ten that enclose two numbers over 0."""
    first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _panel(panel: Panel, top: float, across: str, places: Sequence[float]) -> list[str]:
    values = [value for line in panel.lines for value in line.values]
    marks = decades(min(values), max(values)) if panel.logarithmic else ticks(max(values))
    below = top + PANEL_HEIGHT - BOTTOM
    across_marks = ticks(max(places))

    def x(place: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * place / across_marks[-1]

    def y(value: float) -> float:
        if panel.logarithmic:
            share = math.log(value / marks[0]) / math.log(marks[-1] / marks[0])
        else:
            share = value / marks[-1]
        return below - (below - top - 18) * share

    parts = [_text(LEFT, top + 10, panel.title)]
    for mark in marks:
        parts += [
            _line(LEFT, y(mark), WIDTH - RIGHT, y(mark), GRID),
            _text(LEFT - 8, y(mark) + 4, f"{mark:g}", anchor="end"),
        ]
    for mark in across_marks:
        parts += [
            _line(x(mark), below, x(mark), below + 4, INK),
            _text(x(mark), below + 17, f"{mark:g}", anchor="middle"),
        ]
    parts += [
        _line(LEFT, below, WIDTH - RIGHT, below, INK),
        _text((LEFT + WIDTH - RIGHT) / 2, below + 32, across, anchor="middle"),
    ]
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        points = [(x(place), y(value)) for place, value in zip(places, line.values, strict=True)]
        path = " ".join(f"{at:.1f},{up:.1f}" for at, up in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{at:.1f}" cy="{up:.1f}" r="3" fill="{colour}"/>' for at, up in points]
        at, up = points[-1]
        parts.append(_text(at + 8, up + 4, line.name, fill=colour))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, weight: str = "normal"
) -> str:
    style = f'text-anchor="{anchor}" fill="{fill}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
