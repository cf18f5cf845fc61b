"""How clients see a model, and how that becomes what the model itself takes and gives.

Without a configuration both are the same. With one, clients may see other shapes, may leave inputs out, send lengths
that differ between requests of one run, and never see state and controls. Made in `fitting.py`.
"""

from dataclasses import dataclass

from inference.engine import Signature
from inference.tensor.shapes import Shape

Axes = tuple[tuple[int, str], ...]
"""Dimensions by their place, each with its name."""


@dataclass(frozen=True, slots=True)
class InputPort:
    """An input."""

    signature: Signature
    """As clients send it, with the batch dimension."""
    own: Shape | None = None
    """What the model takes where that is another shape, with the batch dimension."""
    optional: bool = False
    ragged: Axes = ()
    """Dimensions in which requests that share a run may differ. Those of one name have one length in a request."""


@dataclass(frozen=True, slots=True)
class OutputPort:
    """An output."""

    signature: Signature
    """As clients get it, with the batch dimension."""
    own: Shape | None = None
    """What the model gives where that is another shape, with the batch dimension."""
    labels: tuple[str, ...] = ()
    cut: Axes = ()
    """Dimensions that are as long as a ragged one of the inputs: those to which the model gives the same name."""


@dataclass(frozen=True, slots=True)
class Interface:
    """What clients send and get."""

    inputs: tuple[InputPort, ...]
    outputs: tuple[OutputPort, ...]
    max_rows: int = 0
    """Most rows of a request; 0 where no batch dimension is declared."""
