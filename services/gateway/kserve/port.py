"""An input or output as clients are told of it."""

from typing import NamedTuple


class Port(NamedTuple):
    """One of them."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """With the batch dimension where there is one; -1 for any length."""
    optional: bool = False
    """Whether a request may leave it out."""
