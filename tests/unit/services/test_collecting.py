"""A service that was put together is not looked through for garbage over and over, and what it drops later is."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from services.collecting import NEW_OBJECTS, collect_seldom


class Knot:
    """An object that only the search for cycles can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_here_is_put_aside_and_new_objects_are_looked_at_later() -> None:
    older = gc.get_threshold()[1:]
    collect_seldom()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == (NEW_OBJECTS, *older)


def test_a_cycle_that_is_dropped_afterwards_is_freed_without_being_asked_for() -> None:
    collect_seldom()
    dropped = weakref.ref(Knot())
    filling: list[list[int]] = []
    while dropped() is not None:
        assert len(filling) <= 2 * NEW_OBJECTS
        filling.append([])
