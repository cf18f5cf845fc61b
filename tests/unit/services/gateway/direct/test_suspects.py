"""What is remembered of requests that runners may have died of, and for how long."""

import asyncio
from typing import Any, cast

import pytest

from scheduler.errors import InvalidInput, RunnerCrashed
from services.gateway.direct.connection import Connection
from services.gateway.direct.group import Group
from services.gateway.direct.pending import Pending
from services.gateway.direct.suspects import MOST, MOST_BYTES, REFUSED_S, STOPPED_S, SUSPECTED_S, Suspects
from services.gateway.direct.wanted import DirectCall

KEY = ("default", "m", 0)


class Runner:
    def __init__(self, id_: str = "r") -> None:
        self.id = id_


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def call(text: str, **fields: Any) -> DirectCall:
    def fill(message: Any) -> None:
        message.generate.prompt = text

    return DirectCall("tenant", "m", fill, **fields)


def pending(wanted: DirectCall) -> Pending:
    return Pending(1, wanted, Group(KEY), 0.0, 1.0)


def runner(id_: str = "r") -> Connection:
    return cast(Connection, Runner(id_))


async def tried(suspects: Suspects, text: str) -> DirectCall:
    wanted = call(text)
    await suspects.turn(wanted, KEY, 1.0)
    return wanted


async def test_a_suspect_is_tried_alone_until_it_is_cleared() -> None:
    suspects = Suspects(Time())
    assert not suspects
    suspects.died(runner(), [pending(call("a")), pending(call("b"))])
    assert suspects
    assert (await tried(suspects, "other")).trial is None
    first = await tried(suspects, "a")
    second = asyncio.ensure_future(tried(suspects, "b"))
    await asyncio.sleep(0)
    assert first.trial is not None and not second.done()
    suspects.clear(first.trial)
    first.trial.end()
    first.trial.end()
    assert (await second).trial is not None
    assert (await tried(suspects, "a")).trial is None


async def test_who_dies_on_trial_is_refused_for_a_while_and_others_go_on() -> None:
    time = Time()
    suspects = Suspects(time)
    suspects.died(runner(), [pending(call("a"))])
    trial = await tried(suspects, "a")
    again = asyncio.ensure_future(tried(suspects, "a"))
    await asyncio.sleep(0)
    suspects.died(runner(), [pending(trial), pending(call("beside"))])
    assert trial.trial is not None
    trial.trial.end()
    with pytest.raises(RunnerCrashed):
        await again
    beside = await tried(suspects, "beside")
    assert beside.trial is not None
    beside.trial.end()
    time.now_s += REFUSED_S - 1
    with pytest.raises(RunnerCrashed):
        await tried(suspects, "a")
    time.now_s += 1
    assert (await tried(suspects, "a")).trial is None
    assert not suspects


async def test_a_suspect_that_does_not_come_back_is_forgotten() -> None:
    time = Time()
    suspects = Suspects(time)
    suspects.died(runner(), [pending(call("a"))])
    time.now_s += SUSPECTED_S
    assert (await tried(suspects, "a")).trial is None
    assert not suspects


async def test_what_was_stopped_is_suspected_with_its_own_runner_only_and_not_for_long() -> None:
    time = Time()
    suspects = Suspects(time)
    suspects.left(pending(call("early")), runner())
    time.now_s += STOPPED_S + 1
    suspects.left(pending(call("late")), runner())
    suspects.left(pending(call("elsewhere")), runner("other"))
    suspects.died(runner(), [])
    assert [(await tried(suspects, text)).trial is not None for text in ("early", "elsewhere", "late")] == [
        False,
        False,
        True,
    ]


async def test_what_is_remembered_and_what_is_read_is_bounded() -> None:
    suspects = Suspects(Time())
    large = [pending(call(str(number), size_bytes=MOST_BYTES // 2)) for number in range(3)]
    suspects.died(runner(), large)
    assert [(await tried(suspects, str(number))).trial is not None for number in (2, 0)] == [False, True]
    suspects.died(runner(), [pending(call(f"n{number}")) for number in range(MOST + 1)])
    assert (await tried(suspects, "n0")).trial is None


async def test_a_turn_is_over_with_the_first_output_and_who_dies_then_is_to_blame_the_second_time_only() -> (
    None
):
    suspects = Suspects(Time())
    suspects.died(runner(), [pending(call("a")), pending(call("b"))])
    for _ in range(2):
        tries = []
        for text in ("a", "b"):
            wanted = await tried(suspects, text)
            assert wanted.trial is not None
            wanted.trial.end()
            tries.append(wanted)
        suspects.clear(tries[1].trial)  # type: ignore[arg-type]
        suspects.died(runner(), [pending(wanted) for wanted in tries])
    with pytest.raises(RunnerCrashed):
        await tried(suspects, "a")
    # Who was answered meanwhile begins anew with what it dies beside.
    assert (await tried(suspects, "b")).trial is not None


async def test_what_a_runner_names_itself_is_to_blame_whatever_else_is_tried() -> None:
    suspects = Suspects(Time())
    suspects.died(runner(), [pending(call("a"))])
    wanted = await tried(suspects, "a")
    assert wanted.trial is not None
    wanted.trial.end()
    suspects.died(runner(), [pending(wanted)], named=True)
    with pytest.raises(RunnerCrashed):
        await tried(suspects, "a")


async def test_of_two_on_trial_with_one_runner_neither_is_to_blame() -> None:
    suspects = Suspects(Time())
    suspects.died(runner(), [pending(call("a")), pending(call("b"))])
    first = await tried(suspects, "a")
    suspects.left(pending(first), runner())
    assert first.trial is not None
    first.trial.end()
    second = await tried(suspects, "b")
    suspects.died(runner(), [pending(second)])
    assert second.trial is not None
    second.trial.end()
    for text in ("a", "b"):
        again = await tried(suspects, text)
        assert again.trial is not None
        again.trial.end()


async def test_a_request_that_cannot_be_written_is_nobodys_suspect() -> None:
    def fill(message: Any) -> None:
        raise InvalidInput.of("tensors", "cannot be written")

    suspects = Suspects(Time())
    suspects.died(runner(), [pending(DirectCall("t", "m", fill))])
    assert not suspects
