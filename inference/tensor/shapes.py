"""Shapes in which -1 stands for any length: do two of them agree, and how an array gets from one to the other."""

import math
from collections.abc import Sequence

Shape = tuple[int, ...]


def dynamic(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the places of the dimensions of any length."""
    return tuple(axis for axis, length in enumerate(shape) if length == -1)


def fits(told: Sequence[int], own: Sequence[int]) -> bool:
    """Whether a shape that is told of a tensor can be that of the model."""
    return len(told) == len(own) and all(
        one == other or -1 in (one, other) for one, other in zip(told, own, strict=True)
    )


def same_size(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a tensor of one shape can always become one of the other: the free dimensions stay, in their order."""
    fixed_one = math.prod(length for length in one if length != -1)
    fixed_other = math.prod(length for length in other if length != -1)
    return fixed_one == fixed_other and len(dynamic(one)) == len(dynamic(other))


def reshaped(got: Sequence[int], seen: Sequence[int], wanted: Sequence[int]) -> Shape:
    """Return the shape `wanted` with the lengths that a tensor of shape `seen` really has, for `same_size` shapes."""
    lengths = iter([got[axis] for axis in dynamic(seen)])
    return tuple(next(lengths) if length == -1 else length for length in wanted)
