"""The runner processes that a model is to have: one for each instance of each version that is served."""

from dataclasses import dataclass, field
from pathlib import Path

from inference.repository.instances import Seat, seats_of
from inference.repository.listing import ListedModel


@dataclass(frozen=True, slots=True)
class Post:
    """What one runner process is to serve, and where it runs."""

    model: str
    path: Path
    version: int = 0
    """0 for a model without versions."""
    highest: bool = True
    """Whether no higher version is served beside it."""
    generation: int = 1
    """How often the model was loaded, this time included, since the agent began."""
    seat: Seat = field(default_factory=Seat)
    number: int = 0
    """Tells the seats of a version apart."""
    seats: int = 1
    """How many the version has."""


def versions_of(listed: ListedModel) -> tuple[int, ...]:
    """Return the versions that are to be served, ascending: 0 alone for a model without versions, and for one with a
    fault, whose runner says what it is.
    """
    return (0,) if listed.plain else listed.versions or (0,)


def all_versions_of(listed: ListedModel) -> tuple[int, ...]:
    """Return the versions that are there, served or not, ascending."""
    return (0,) if listed.plain else listed.all_versions or (0,)


def posts_of(listed: ListedModel, generation: int) -> tuple[Post, ...]:
    """Return the posts of a model, by version."""
    versions = versions_of(listed)
    seats = seats_of(listed.instances)
    return tuple(
        Post(
            listed.name,
            listed.path,
            version,
            version == versions[-1],
            generation,
            seat,
            number,
            len(seats),
        )
        for version in versions
        for number, seat in enumerate(seats)
    )
