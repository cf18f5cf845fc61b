"""Calls that wait to be sent, and the messages that they go in."""

from collections.abc import Callable
from math import inf

from forebay.runner.v1.runner_service_pb2 import Call, ExecuteRequest
from scheduler.errors import InvalidInput
from scheduler.states import Level
from services.gateway.direct.group import Group
from services.gateway.direct.outgoing import LARGEST_CALL, MESSAGE_BYTES, MESSAGE_CALLS, Outgoing
from services.gateway.direct.pending import Pending
from services.gateway.direct.wanted import DirectCall

GROUP = Group(("default", "m", 0))


def nothing(call: Call) -> None:
    call.tensors.SetInParent()


def pending(
    number: int, level: Level = Level.NORMAL, size: int = 10, fill: Callable[[Call], None] = nothing
) -> Pending:
    wanted = DirectCall("t", "m", fill, priority=level, size_bytes=size)
    return Pending(number, wanted, GROUP, 0.0, 10.0)


def waiting(*calls: Pending) -> Outgoing:
    outgoing = Outgoing()
    for call in calls:
        outgoing.add(call)
    return outgoing


def next_message(outgoing: Outgoing) -> list[int]:
    request = ExecuteRequest()
    assert outgoing.write(request, 4.0) == []
    return [call.id for call in request.calls]


async def test_higher_levels_go_first_and_of_a_level_what_came_first() -> None:
    calls = [pending(1, Level.LOW), pending(2), pending(3, Level.CRITICAL), pending(4)]
    outgoing = waiting(*calls)
    assert next_message(outgoing) == [3, 2, 4, 1]
    assert outgoing.count == 0
    assert all(call.sent for call in calls)


async def test_a_call_whose_level_rose_goes_behind_those_of_its_new_level() -> None:
    calls = [pending(1, Level.LOW), pending(2, Level.LOW), pending(3, Level.HIGH), pending(4)]
    outgoing = waiting(*calls)
    outgoing.raise_level(calls[1], Level.HIGH)
    assert calls[1].wanted.priority is Level.HIGH
    assert outgoing.count == 4
    assert not outgoing.critical
    assert next_message(outgoing) == [3, 2, 4, 1]
    assert outgoing.count == 0


async def test_the_time_that_is_left_is_told_and_never_nothing() -> None:
    late = pending(2)
    late.deadline_s = 3.0
    request = ExecuteRequest()
    waiting(pending(1), late).write(request, 4.0)
    assert [call.timeout_ms for call in request.calls] == [6000, 1]


async def test_a_message_takes_so_many_calls_and_the_others_go_on_waiting() -> None:
    outgoing = waiting(*(pending(number) for number in range(MESSAGE_CALLS + 2)))
    assert len(next_message(outgoing)) == MESSAGE_CALLS
    assert outgoing.count == 2
    assert next_message(outgoing) == [MESSAGE_CALLS, MESSAGE_CALLS + 1]


async def test_a_message_takes_so_many_bytes_and_a_larger_call_travels_alone() -> None:
    outgoing = waiting(pending(1, size=2 * MESSAGE_BYTES), pending(2, size=MESSAGE_BYTES - 10), pending(3))
    assert [next_message(outgoing) for _ in range(2)] == [[1], [2, 3]]


async def test_what_was_removed_does_not_go() -> None:
    first, second = pending(1), pending(2)
    outgoing = waiting(first, second)
    outgoing.remove(first)
    outgoing.remove(first)
    assert outgoing.count == 1
    assert next_message(outgoing) == [2]


def critical(outgoing: Outgoing) -> bool:
    return outgoing.critical


async def test_it_tells_whether_something_critical_waits() -> None:
    call = pending(1, Level.CRITICAL)
    outgoing = waiting(pending(2))
    assert not critical(outgoing)
    outgoing.add(call)
    assert critical(outgoing)
    outgoing.remove(call)
    assert not critical(outgoing)


async def test_it_tells_when_the_first_client_gives_up() -> None:
    calls = [pending(1), pending(2), pending(3)]
    calls[1].deadline_s = 5.0
    outgoing = waiting(*calls)
    assert outgoing.due_s == 5.0
    next_message(outgoing)
    assert outgoing.due_s == inf
    outgoing.add(pending(4))
    assert outgoing.due_s == 10.0
    outgoing.remove(pending(4))
    assert outgoing.due_s == inf


async def test_a_call_that_cannot_be_written_leaves_the_others_in_the_message() -> None:
    def broken(call: Call) -> None:
        raise InvalidInput.of("x", "cannot be written")

    def too_large(call: Call) -> None:
        call.tensors.tensors.add(raw=b"\0" * (LARGEST_CALL + 1))

    unfit = [pending(2, fill=broken), pending(3, Level.LOW, LARGEST_CALL + 1, too_large)]
    outgoing = waiting(pending(1), unfit[0])
    request = ExecuteRequest()
    (first,) = outgoing.write(request, 4.0)
    outgoing.add(unfit[1])
    (second,) = outgoing.write(request, 4.0)
    assert [call.id for call in request.calls] == [1]
    assert [first[0], second[0]] == unfit
    assert isinstance(second[1], InvalidInput)
    assert outgoing.count == 0
