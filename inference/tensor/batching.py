"""Which requests share a run, and how their arrays become one: pure functions over what was admitted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.engine import Array, Signature

Names = tuple[str, ...]
Group = tuple[tuple[str, tuple[int, ...]], ...]
"""Dtype and trailing shape of each input, in the model's order: what must be equal to share a run."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What matters of a request's shapes. Computed once for each combination of shapes that occurs."""

    group: Group | None
    """None when the request can only run alone."""
    rows: int
    """Length of the first dimension; 1 for a request that runs alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One admitted request."""

    key: str
    inputs: Mapping[str, Array]
    layout: Layout


def can_share(inputs: Sequence[Signature], outputs: Sequence[Signature]) -> bool:
    """Tell whether a model's inputs and outputs all have a first dimension of any length."""
    return bool(inputs and outputs) and all(
        signature.shape and signature.shape[0] == -1 for signature in (*inputs, *outputs)
    )


def layout_of(inputs: Mapping[str, Array], names: Names, *, share: bool) -> Layout:
    """Describe a valid request. It runs alone when the model cannot share or its first dimensions differ."""
    lengths = {inputs[name].shape[0] for name in names} if share else set()
    if len(lengths) != 1:
        return Layout(None, 1)
    group = tuple((inputs[name].dtype.str, inputs[name].shape[1:]) for name in names)
    return Layout(group, lengths.pop())


def next_batch(waiting: Iterable[Item], max_rows: int) -> list[Item]:
    """Choose what runs next: the request that waited longest, and those after it that can share its run.

    At most `max_rows` rows; a single request with more of them runs alone.
    """
    batch: list[Item] = []
    rows = 0
    group: Group | None = None
    for item in waiting:
        layout = item.layout
        if not batch:
            batch.append(item)
            if layout.group is None:
                break
            group = layout.group
            rows = layout.rows
        elif layout.group is group or layout.group == group:
            if rows + layout.rows > max_rows:
                break
            batch.append(item)
            rows += layout.rows
        if rows >= max_rows:
            break
    return batch


def join(batch: Sequence[Item], names: Names) -> dict[str, Array]:
    """Return the arrays to run: those of a single request as they are, of several one after the other."""
    if len(batch) == 1:
        inputs = batch[0].inputs
        return {name: inputs[name] for name in names}
    return {name: np.concatenate([item.inputs[name] for item in batch]) for name in names}


def split(batch: Sequence[Item], outputs: Sequence[Array], names: Names) -> list[dict[str, Array]] | None:
    """Give each request its rows of the outputs, as views.

    Returns None when an output has not one row for each row of input: then the model's rows are not requests.
    """
    if len(batch) == 1:
        return [dict(zip(names, outputs, strict=True))]
    total = sum(item.layout.rows for item in batch)
    if any(output.ndim == 0 or output.shape[0] != total for output in outputs):
        return None
    if len(names) == 1 and total == len(batch) and all(item.layout.rows == 1 for item in batch):
        name, output = names[0], outputs[0]
        return [{name: output[at : at + 1]} for at in range(total)]
    parts: list[dict[str, Array]] = []
    start = 0
    for item in batch:
        end = start + item.layout.rows
        parts.append({name: output[start:end] for name, output in zip(names, outputs, strict=True)})
        start = end
    return parts
