"""The processes that serve a version of a model together, one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference.repository.definition import Instances


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one process runs a model: what its engine settings are to be."""

    providers: tuple[str, ...] = ()
    """EngineSettings.providers; empty for what the settings say."""
    gpu_only: bool = False
    """EngineSettings.gpu_only; false for what the settings say."""
    device: int | None = None
    """EngineSettings.device; None for what the settings say."""


def seats_of(groups: Sequence[Instances]) -> tuple[Seat, ...]:
    """Return a seat for each process, in the order of the groups."""
    seats: list[Seat] = []
    for group in groups:
        providers = ("cpu",) if group.kind == "cpu" else ()
        for device in group.gpus or (None,):
            seats += [Seat(providers, group.kind == "gpu", device)] * group.count
    return tuple(seats)
