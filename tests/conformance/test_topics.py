"""What is asked of a broker's admin API for the topics of the queues, whatever it has already."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from scheduler.adapters.pulsar import ensure_topics
from scheduler.errors import LogUnavailable, StartupRefused
from scheduler.states import Level

QUEUES = [("default", Level.LOW)]
TOPIC = "persistent/public/default/tasks.default.low"


class FakeAdmin:
    """An admin API with one cluster's topics. Call `start`, and `stop` in the end."""

    def __init__(self) -> None:
        self.partitions: dict[str, int] = {}
        self.subscribed: list[str] = []
        self.grown: list[int] = []
        self.starting = 0
        """How often it says that its namespace is not there."""
        self.rival: int | None = None
        """What somebody else makes of a topic right before it can be made larger."""
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen on a port of the loopback interface."""
        app = web.Application()
        head = "/admin/v2/{topic:persistent/.*}"
        app.add_routes(
            [
                web.put(head + "/partitions", self._make),
                web.get(head + "/partitions", self._read),
                web.post(head + "/partitions", self._grow),
                web.put(head + "/subscription/{name}", self._subscribe),
                web.put(head, self._done),
                web.post("/admin/v2/namespaces/public/default/retention", self._retain),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close everything."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _make(self, request: web.Request) -> web.Response:
        topic = request.match_info["topic"]
        if topic in self.partitions:
            return web.Response(status=409, text="This topic already exists")
        self.partitions[topic] = await request.json()
        return web.Response(status=204)

    async def _read(self, request: web.Request) -> web.Response:
        return web.json_response({"partitions": self.partitions[request.match_info["topic"]]})

    async def _grow(self, request: web.Request) -> web.Response:
        topic, wanted = request.match_info["topic"], await request.json()
        self.grown.append(wanted)
        if self.rival is not None:
            self.partitions[topic] = self.rival
        if wanted <= self.partitions[topic]:
            return web.Response(status=409, text="Number of partitions must be more than existing")
        self.partitions[topic] = wanted
        return web.Response(status=204)

    async def _subscribe(self, request: web.Request) -> web.Response:
        self.subscribed.append(request.match_info["name"])
        return web.Response(status=204)

    async def _retain(self, request: web.Request) -> web.Response:
        if self.starting:
            self.starting -= 1
            return web.json_response({"reason": "Namespace policies does not exist"}, status=404)
        return web.Response(status=204)

    async def _done(self, request: web.Request) -> web.Response:
        return web.Response(status=204)


@pytest.fixture
async def admin() -> AsyncIterator[FakeAdmin]:
    admin = FakeAdmin()
    await admin.start()
    try:
        yield admin
    finally:
        await admin.stop()


async def test_a_queue_gets_a_partition_for_each_lane_and_one_for_the_express_lane(admin: FakeAdmin) -> None:
    for _ in range(2):
        await ensure_topics(admin.url, "public/default", QUEUES, 8)
    assert (admin.partitions, admin.grown) == ({TOPIC: 9}, [])
    assert set(admin.subscribed) == {"scheduler"}


async def test_a_topic_without_an_express_lane_gets_one(admin: FakeAdmin) -> None:
    admin.partitions[TOPIC] = 8
    await ensure_topics(admin.url, "public/default", QUEUES, 8)
    assert (admin.partitions, admin.grown) == ({TOPIC: 9}, [9])
    assert admin.subscribed == ["scheduler"]


async def test_many_that_make_a_topic_larger_at_once_do_no_harm(admin: FakeAdmin) -> None:
    admin.partitions[TOPIC] = 8
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ensure_topics(admin.url, "public/default", QUEUES, 8))
    assert admin.partitions == {TOPIC: 9}


async def test_somebody_else_may_make_the_topic_larger_first(admin: FakeAdmin) -> None:
    admin.partitions[TOPIC], admin.rival = 8, 9
    await ensure_topics(admin.url, "public/default", QUEUES, 8)
    assert (admin.partitions, admin.grown) == ({TOPIC: 9}, [9])


async def test_a_topic_that_cannot_be_made_larger_is_an_error(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.adapters.pulsar.topics.BUSY_PAUSE_S", 0.0)
    admin.partitions[TOPIC] = 8

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=409, text="there is a topic of that name")

    monkeypatch.setattr(admin, "_grow", refuse)
    await admin.stop()
    await admin.start()
    with pytest.raises(StartupRefused, match="there is a topic of that name"):
        await ensure_topics(admin.url, "public/default", QUEUES, 8)


async def test_a_topic_with_lanes_that_nobody_would_read_is_refused(admin: FakeAdmin) -> None:
    admin.partitions[TOPIC] = 10
    with pytest.raises(StartupRefused, match="set lanes to 9"):
        await ensure_topics(admin.url, "public/default", QUEUES, 8)


async def test_a_broker_that_has_just_started_makes_its_namespace_in_a_moment(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.adapters.pulsar.topics.BUSY_PAUSE_S", 0.0)
    admin.starting = 3
    await ensure_topics(admin.url, "public/default", QUEUES, 8)
    assert (admin.starting, admin.partitions) == (0, {TOPIC: 9})


async def test_a_namespace_that_is_never_there_is_refused(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.adapters.pulsar.topics.BUSY_PAUSE_S", 0.0)
    admin.starting = 1_000
    with pytest.raises(StartupRefused, match="Namespace policies does not exist"):
        await ensure_topics(admin.url, "public/default", QUEUES, 8)


async def test_a_broker_that_takes_too_long_is_unavailable_and_the_next_call_goes_on_from_there(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe, enough = admin._subscribe, asyncio.Event()

    async def linger(request: web.Request) -> web.Response:
        await enough.wait()
        return await subscribe(request)

    monkeypatch.setattr(admin, "_subscribe", linger)
    await admin.stop()
    await admin.start()
    with pytest.raises(LogUnavailable, match=r"did not make the topics within 0\.2 s"):
        await ensure_topics(admin.url, "public/default", QUEUES, 8, timeout_s=0.2)
    enough.set()
    assert admin.partitions == {TOPIC: 9}
    await ensure_topics(admin.url, "public/default", QUEUES, 8)


async def test_a_broker_that_dies_in_the_middle_of_an_answer_is_unavailable(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b'{"part')
        assert request.transport is not None
        request.transport.close()
        return answer

    monkeypatch.setattr(admin, "_read", die)
    await admin.stop()
    await admin.start()
    with pytest.raises(LogUnavailable, match="does not answer"):
        await ensure_topics(admin.url, "public/default", QUEUES, 8)
