"""Parking: what paused rows held comes back as it was, and the limit is kept."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from inference.generate.parking import Parked, Parking

from .array_slots import ArraySlots

TOKEN = ArraySlots.bytes_per_token


def test_a_row_comes_back_in_any_slot_bit_for_bit() -> None:
    slots = ArraySlots()
    parking = Parking(slots, 100 * TOKEN)
    values = slots.fill(1, 17)
    parked = parking.park(1, 17)
    slots.fill(1, 17, seed=1)
    parking.restore(parked, 3)
    assert np.array_equal(slots.beginning(3, 17), values)
    assert not slots.values[3, :, :, 17:].any()


def test_memory_is_counted_to_the_byte() -> None:
    parking = Parking(ArraySlots(), 30 * TOKEN)
    first, second = parking.park(0, 10), parking.park(1, 20)
    assert (first.tokens, first.bytes) == (10, 10 * TOKEN)
    assert (len(parking), parking.bytes) == (2, 30 * TOKEN)
    assert not parking.room_for(1)
    parking.drop(second)
    assert (len(parking), parking.bytes) == (1, 10 * TOKEN)
    assert parking.room_for(20)
    assert not parking.room_for(21)
    parking.restore(first, 0)
    assert (len(parking), parking.bytes) == (0, 0)


def test_a_row_that_does_not_fit_is_refused() -> None:
    parking = Parking(ArraySlots(), 10 * TOKEN - 1)
    with pytest.raises(MemoryError, match="10 tokens"):
        parking.park(0, 10)
    assert (len(parking), parking.bytes) == (0, 0)


def test_a_row_is_restored_once() -> None:
    slots = ArraySlots()
    parking = Parking(slots, 10 * TOKEN)
    parked = parking.park(0, 5)
    parking.restore(parked, 1)
    with pytest.raises(KeyError):
        parking.restore(parked, 2)
    parking.drop(parked)
    assert parking.bytes == 0


def test_a_copy_that_fails_takes_no_memory() -> None:
    slots = ArraySlots()
    parking = Parking(slots, 10 * TOKEN)
    slots.fail = True
    with pytest.raises(RuntimeError):
        parking.park(0, 5)
    assert (len(parking), parking.bytes) == (0, 0)


def test_rows_of_equal_length_are_not_taken_for_each_other() -> None:
    slots = ArraySlots()
    parking = Parking(slots, 10 * TOKEN)
    values = [slots.fill(slot, 5, seed=slot) for slot in range(2)]
    parked = [parking.park(slot, 5) for slot in range(2)]
    parking.drop(parked[0])
    parking.restore(parked[1], 2)
    assert np.array_equal(slots.beginning(2, 5), values[1])


class ParkingMachine(RuleBasedStateMachine):
    """Parks, restores and drops rows in any order."""

    LIMIT = 40 * TOKEN

    def __init__(self) -> None:
        super().__init__()
        self.slots = ArraySlots(slots=2, context=20)
        self.parking = Parking(self.slots, self.LIMIT)
        self.parked: list[tuple[Parked, NDArray[np.float32]]] = []
        self.fills = 0

    @rule(slot=st.integers(0, 1), tokens=st.integers(0, 20))
    def park(self, slot: int, tokens: int) -> None:
        self.fills += 1
        values = self.slots.fill(slot, tokens, seed=self.fills)
        if self.parking.room_for(tokens):
            self.parked.append((self.parking.park(slot, tokens), values))
        else:
            with pytest.raises(MemoryError):
                self.parking.park(slot, tokens)

    @precondition(lambda self: self.parked)
    @rule(which=st.integers(0, 99), slot=st.integers(0, 1))
    def restore(self, which: int, slot: int) -> None:
        parked, values = self.parked.pop(which % len(self.parked))
        self.parking.restore(parked, slot)
        assert np.array_equal(self.slots.beginning(slot, parked.tokens), values)

    @precondition(lambda self: self.parked)
    @rule(which=st.integers(0, 99))
    def drop(self, which: int) -> None:
        self.parking.drop(self.parked.pop(which % len(self.parked))[0])

    @invariant()
    def all_is_counted_and_the_limit_is_kept(self) -> None:
        assert len(self.parking) == len(self.parked)
        assert self.parking.bytes == sum(parked.tokens for parked, _ in self.parked) * TOKEN
        assert self.parking.bytes <= self.LIMIT


TestParking = ParkingMachine.TestCase
TestParking.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
