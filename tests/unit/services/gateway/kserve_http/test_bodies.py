import pytest

from scheduler.errors import Overloaded
from services.gateway.kserve_http.bodies import Room


def test_bodies_share_a_room_and_leave_it() -> None:
    room = Room(100)
    with room.place() as first:
        first.grow(60)
        with room.place() as second:
            second.grow(40)
            with pytest.raises(Overloaded):
                second.grow(1)
            with pytest.raises(Overloaded):
                first.grow(1)
        first.grow(30)
        assert room.bytes == 90
    assert room.bytes == 0


def test_one_body_is_let_in_however_large_it_is() -> None:
    room = Room(100)
    with room.place() as alone:
        alone.grow(1000)
        with room.place() as other, pytest.raises(Overloaded):
            other.grow(1)
    with room.place() as other:
        other.grow(1)
