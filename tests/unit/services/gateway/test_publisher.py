import asyncio
from collections.abc import Mapping

import pytest

from scheduler.bundles import bundle_properties
from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane
from scheduler.states import Level
from services.gateway import publisher as publishing
from services.gateway.publisher import BundlePublisher, Parking, bundle_publisher

LANE = Lane("default", Level.NORMAL, 0)
OTHER = Lane("default", Level.NORMAL, 1)


class HeldLog:
    """Acknowledges a bundle when the test says so."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[tuple[Lane | str, bytes, Mapping[str, str], asyncio.Future[None]]] = (
            asyncio.Queue()
        )

    async def publish(self, lane: Lane, payload: bytes, properties: Mapping[str, str]) -> None:
        answer = asyncio.get_running_loop().create_future()
        self.sent.put_nowait((lane, payload, properties, answer))
        await answer

    async def park(self, pool: str, payload: bytes) -> None:
        answer = asyncio.get_running_loop().create_future()
        self.sent.put_nowait((pool, payload, {}, answer))
        await answer

    async def journal(self, payload: bytes) -> None:
        raise AssertionError

    async def set_aside(self, lane: Lane, payload: bytes, fault: str) -> None:
        raise AssertionError

    async def close(self) -> None:
        """Do nothing."""


def hand_over(
    publisher: BundlePublisher, *frames: bytes, lane: Lane = LANE, trace: str = ""
) -> list[publishing.Parcel]:
    return publisher.hand_over(lane, frames, trace)


async def test_what_is_parked_travels_apart_from_every_lane() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        parcels = publisher.hand_over(Parking("default"), [b"a", b"b"], "")
        parcels += hand_over(publisher, b"c")
        sent = [await log.sent.get() for _ in range(2)]
        assert [(to, payload) for to, payload, _, _ in sent] == [("default", b"ab"), (LANE, b"c")]
        for _, _, _, answer in sent:
            answer.set_result(None)
        assert [await parcel.outcome for parcel in parcels] == [None, None]


async def test_an_idle_lane_sends_at_once() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        (parcel,) = hand_over(publisher, b"a", b"b")
        lane, payload, properties, answer = await log.sent.get()
        assert (lane, payload) == (LANE, b"ab")
        assert properties == bundle_properties(LANE, b"ab")
        assert not parcel.outcome.done()
        answer.set_result(None)
        assert await parcel.outcome is None


async def test_what_comes_while_a_bundle_is_on_its_way_shares_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "GATHER_S", 60.0)
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        hand_over(publisher, b"a")
        first = (await log.sent.get())[3]
        parcels = [
            hand_over(publisher, text.encode(), trace=trace)[0] for text, trace in (("b", ""), ("c", "00-t"))
        ]
        first.set_result(None)
        _, payload, properties, second = await log.sent.get()
        assert payload == b"bc"
        assert properties["traceparent"] == "00-t"
        second.set_result(None)
        assert [await parcel.outcome for parcel in parcels] == [None, None]


async def test_nobody_waits_for_a_slow_bundle_longer_than_the_gathering_time() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        hand_over(publisher, b"a")
        first = (await log.sent.get())[3]
        hand_over(publisher, b"b")
        second = (await log.sent.get())[3]
        assert not first.done()
        first.set_result(None)
        second.set_result(None)


async def test_lanes_do_not_wait_for_each_other() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        hand_over(publisher, b"a")
        hand_over(publisher, b"b", lane=OTHER)
        sent = [await log.sent.get(), await log.sent.get()]
        assert [lane for lane, *_ in sent] == [LANE, OTHER]
        for *_, answer in sent:
            answer.set_result(None)


async def test_a_full_bundle_does_not_wait() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        parcels = hand_over(publisher, *[b"x"] * 600)
        assert [len(parcel.frames) for parcel in parcels] == [256, 256, 88]
        sent = [await log.sent.get() for _ in range(3)]
        assert [len(payload) for _, payload, *_ in sent] == [256, 256, 88]
        for *_, answer in sent:
            answer.set_result(None)


async def test_a_bundle_has_at_most_256_kib_unless_one_task_is_larger() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        parcels = hand_over(publisher, bytes(200_000), bytes(100_000), bytes(900_000), b"x")
        assert [parcel.size_bytes for parcel in parcels] == [200_000, 100_000, 900_000, 1]
        for _ in parcels:
            (await log.sent.get())[3].set_result(None)


async def test_a_failure_reaches_exactly_those_whose_bundle_failed() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        (failing,) = hand_over(publisher, b"a")
        answer = (await log.sent.get())[3]
        (fine,) = hand_over(publisher, b"b")
        answer.set_exception(LogUnavailable("away"))
        (await log.sent.get())[3].set_result(None)
        assert isinstance(await failing.outcome, LogUnavailable)
        assert await fine.outcome is None


async def test_an_unforeseen_failure_does_not_stop_the_publisher() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        (failing,) = hand_over(publisher, b"a")
        (await log.sent.get())[3].set_exception(RuntimeError("bug"))
        assert isinstance(await failing.outcome, LogUnavailable)
        (fine,) = hand_over(publisher, b"b")
        (await log.sent.get())[3].set_result(None)
        assert await fine.outcome is None


async def test_a_caller_that_gives_up_does_not_stop_its_tasks() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        (parcel,) = hand_over(publisher, b"a")
        parcel.outcome.cancel()
        (await log.sent.get())[3].set_result(None)
        (again,) = hand_over(publisher, b"b")
        (await log.sent.get())[3].set_result(None)
        assert await again.outcome is None


async def test_leaving_waits_for_what_is_on_its_way() -> None:
    log = HeldLog()
    async with bundle_publisher(log) as publisher:
        (first,) = hand_over(publisher, b"a")
        answer = (await log.sent.get())[3]
        (second,) = hand_over(publisher, b"b")
        loop = asyncio.get_running_loop()
        loop.call_soon(answer.set_result, None)
        async with asyncio.TaskGroup() as group:
            group.create_task(_acknowledge_next(log))
    assert first.outcome.result() is None
    assert second.outcome.result() is None


async def _acknowledge_next(log: HeldLog) -> None:
    (await log.sent.get())[3].set_result(None)


async def test_a_publisher_that_is_cancelled_leaves_nobody_waiting() -> None:
    log = HeldLog()
    parcels: list[publishing.Parcel] = []

    async def work() -> None:
        async with bundle_publisher(log) as publisher:
            parcels.extend(hand_over(publisher, b"a"))
            await log.sent.get()
            parcels.extend(hand_over(publisher, b"b"))
            raise RuntimeError("the process fails")

    with pytest.raises(ExceptionGroup):
        await work()
    assert all(isinstance(parcel.outcome.result(), LogUnavailable) for parcel in parcels)
