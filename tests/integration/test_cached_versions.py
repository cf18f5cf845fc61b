"""Another version, file or option of a model never meets what the old one answered: not in any tier, and not by waiting
for a computation that was moved from one version to the other.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, task_pb2
from inference.artifacts import digest, inspect
from inference.engine import EngineKind, ModelCard
from inference.model_digest import model_traits
from inference.repository.folder import read_folder
from inference.settings import EngineSettings
from observability import names
from scheduler.errors import ShuttingDown
from scheduler.ports.membership import RUNNER_ROLE
from services.gateway.direct import fleet
from tests.direct_runners import FakeRunner, never, refusing, served
from tests.fixtures.valkey import ValkeyServer
from tests.integration.cached_gateway import (
    ON,
    Cached,
    cached,
    infer,
    language_runner,
    said,
    tensor_runner,
)
from tests.integration.one_tier import TIERS, Seats, alone, seats_counted
from tests.integration.test_cached_submits import answering_with
from tests.unit.inference.tensor import onnx_models

DEFAULT, BYPASS = task_pb2.CACHE_MODE_DEFAULT, task_pb2.CACHE_MODE_BYPASS
ONLY = task_pb2.CACHE_MODE_ONLY


# --- what changes a model ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """A model as a runner loads it."""

    version: int = 1
    file: str = ""
    """The one that has another content."""
    settings: EngineSettings = field(default_factory=EngineSettings)
    provider: str = "CPUExecutionProvider"
    context_length: int = 2048

    def announced(self, folder: Path) -> str:
        """Return what its runner announces of its answers."""
        onnx_models.add(folder / "model.onnx")
        for name, content in (
            ("genai_config.json", "{}"),
            ("tokenizer.json", '{"model": 1}'),
            ("chat_template.jinja", "{{ messages[0].content }}"),
        ):
            (folder / name).write_text(content + (" " if name == self.file else ""))
        if self.file == "model.onnx":
            onnx_models.centred(folder / self.file)
        card = ModelCard(
            EngineKind.GENERATE, digest(inspect(folder)), self.provider, context_length=self.context_length
        )
        return model_traits(read_folder(folder, lambda _: None), 1, card, self.settings).digest


CHANGES = {
    "version": Loaded(version=2),
    "weights": Loaded(file="model.onnx"),
    "tokenizer": Loaded(file="tokenizer.json"),
    "template": Loaded(file="chat_template.jinja"),
    "configuration": Loaded(file="genai_config.json"),
    "precision": Loaded(settings=EngineSettings(tensorrt_fp16=True)),
    "provider": Loaded(provider="CUDAExecutionProvider"),
    "context": Loaded(context_length=1024),
}


def chatting(name: str, loaded: Loaded, folder: Path) -> FakeRunner:
    """Return a runner of a model, which says what it is when it is asked."""

    def answer(call: Call) -> Answer:
        return said(call, name)[-1]

    place = folder / name
    place.mkdir()
    runner = language_runner(answer, id=name, answers_digest=loaded.announced(place))
    runner.version = loaded.version
    assert runner.card is not None
    runner.card.version = loaded.version
    return runner


async def told(gateway: Cached, mode: task_pb2.CacheMode.ValueType = DEFAULT) -> tuple[str, bool] | None:
    """Return what a chat is answered, and whether that was kept; None where it is to be kept, and is not."""
    question = inputs_pb2.GenerateInput(max_tokens=8)
    question.messages.messages.add(role="user").parts.add(text="What are you?")
    request = contract.GenerateRequest(model="m", generate=question, cache=mode)
    try:
        answers = [one async for one in gateway.native.Generate(request, timeout=10)]
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND, error
        return None
    return "".join(one.text for one in answers), answers[-1].execution.cached


async def exchange(gateway: Cached, old: FakeRunner, new: FakeRunner) -> None:
    """Let a runner take over from another one."""
    old.state = model_service_pb2.RUNNER_STATE_DRAINING
    for runner in (old, new):
        card = runner.status().SerializeToString()
        await gateway.store.membership.announce(RUNNER_ROLE, runner.id, card, 60_000)


@pytest.mark.parametrize("tier", TIERS)
async def test_whatever_of_a_model_is_changed_no_tier_gives_what_it_answered_before(
    tier: str, tmp_path: Path, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "LOOK_S", 0.02)
    old = chatting("old", Loaded(), tmp_path)
    changed = [chatting(name, loaded, tmp_path) for name, loaded in CHANGES.items()]
    again = chatting("again", Loaded(), tmp_path)
    # Another version may have the same files.
    assert len({one.answers_digest for one in (old, *changed)}) == len(changed)
    heard = []
    async with AsyncExitStack() as stack, asyncio.timeout(15):
        for runner in (*changed, again):
            await stack.enter_async_context(served(runner))
        settings = alone(tier, valkey_server.url, tmp_path, monkeypatch)
        gateway = await stack.enter_async_context(cached(old, cache=settings))
        heard += [await told(gateway), await told(gateway)]
        before = old
        for runner in changed:
            await exchange(gateway, before, runner)
            while await told(gateway, ONLY) is not None:
                pass  # The gateway has not heard of it.
            heard += [await told(gateway), await told(gateway)]
            before = runner
        # What the first one answered was there all the time.
        await exchange(gateway, before, again)
        while (kept := await told(gateway, ONLY)) in (None, heard[-1]):
            pass
        hits = await gateway.metric(names.CACHE_HITS, tier=tier)
    assert heard == [(one, known) for one in ("old", *CHANGES) for known in (False, True)]
    assert kept == ("old", True)
    assert hits > len(changed)
    assert [len(one.calls) for one in (old, *changed, again)] == [*([1] * (1 + len(changed))), 0]


# --- what is moved while it is computed ----------------------------------------------------------------------------


def of_version(runner: FakeRunner, version: int) -> FakeRunner:
    assert runner.card is not None
    runner.version = runner.card.version = version
    return runner


def tensors(version: int, text: str) -> FakeRunner:
    """Return a runner that answers with a text as bytes; with an empty one not at all."""
    answer = answering_with(text.encode()) if text else never
    return of_version(tensor_runner(f"weights {version}", id=f"r{version}", answer=answer), version)


def texts(version: int, text: str) -> FakeRunner:
    """Return a runner that generates a text in pieces; an empty one not at all."""

    def answer(call: Call) -> None:
        if text:
            runner.send(*said(call, text[:2], text[2:]))

    runner = of_version(
        language_runner(answer, id=f"r{version}", answers_digest=f"weights {version}"), version
    )
    return runner


Outcome = tuple[str, int] | grpc.StatusCode
"""Text and version of an answer, or how it failed."""


async def inferred(gateway: Cached, model: str, mode: task_pb2.CacheMode.ValueType = DEFAULT) -> Outcome:
    request = infer(cache=mode)
    request.model = model
    try:
        answer = await gateway.native.Infer(request, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return answer.tensors.tensors[0].raw.decode(), answer.execution.version


async def generated(gateway: Cached, model: str, mode: task_pb2.CacheMode.ValueType = DEFAULT) -> Outcome:
    question = inputs_pb2.GenerateInput(prompt="hello")
    request = contract.GenerateRequest(model=model, generate=question, cache=mode)
    text = ""
    try:
        async for answer in gateway.native.Generate(request, timeout=10):
            text += answer.text
    except grpc.aio.AioRpcError as error:
        assert text == "", "a part of an answer, and then a failure"
        return error.code()
    return text, answer.execution.version


WAYS = pytest.mark.parametrize(
    ("make", "ask"), [pytest.param(tensors, inferred, id="call"), pytest.param(texts, generated, id="stream")]
)


async def leaves(gateway: Cached, runner: FakeRunner) -> None:
    """Let a runner take no more calls, and return when the gateway knows."""
    runner.state = model_service_pb2.RUNNER_STATE_DRAINING
    await gateway.store.membership.announce(
        RUNNER_ROLE, runner.id, runner.status().SerializeToString(), 60_000
    )
    asked = kserve.ModelReadyRequest(name="m", version=str(runner.version))
    async with asyncio.timeout(10):
        while (await gateway.kserve.ModelReady(asked)).ready:
            pass


@asynccontextmanager
async def moved(
    gateway: Cached, three: FakeRunner, ask: Any, seats: Seats
) -> AsyncIterator[list["asyncio.Task[Outcome]"]]:
    """Have a call that names no version led by the runner of version 3, and, when the block was left, moved to that of
    version 2. What comes of it is the first in the list that is yielded. A runner that acknowledges says that it goes;
    one that does not dies with a call that it was sent before, behind which the other one waits.
    """
    before = asyncio.ensure_future(ask(gateway, "m@3", BYPASS))
    await three.until(lambda: len(three.calls) == 1)
    asked = [asyncio.ensure_future(ask(gateway, "m"))]
    await seats.until(1)
    if three.acknowledges:
        await three.until(lambda: len(three.calls) == 2)
    yield asked
    await seats.until(len(asked))
    await leaves(gateway, three)
    if three.acknowledges:
        gone = [refusing(ShuttingDown("it goes", 0.1))(call) for call in three.calls]
        three.send(*(one for one in gone if one is not None))
    else:
        three.hang_up()
    assert await before == grpc.StatusCode.UNAVAILABLE


@WAYS
@pytest.mark.parametrize("dies", [False, True], ids=["goes", "dies"])
async def test_who_waits_for_a_version_is_not_given_the_answer_of_another_to_which_its_leader_was_moved(
    dies: bool, make: Any, ask: Any
) -> None:
    three, two = make(3, ""), make(2, "TWO!")
    three.acknowledges = not dies
    with seats_counted() as seats:
        async with cached(three, two) as gateway:
            async with moved(gateway, three, ask, seats) as asked:
                asked += [asyncio.ensure_future(ask(gateway, model)) for model in ("m@3", "m")]
            leading, insisting, following = [await one for one in asked]
            alone_now = await ask(gateway, "m@3", BYPASS)
    # As without a cache: who named no version is given what is served now, and who named the other is refused.
    assert (leading, following) == (("TWO!", 2), ("TWO!", 2))
    assert insisting == alone_now == grpc.StatusCode.UNAVAILABLE
    assert len(three.calls) == (1 if dies else 2)


@WAYS
async def test_nor_at_another_gateway_where_that_version_is_still_served(
    make: Any, ask: Any, valkey_server: ValkeyServer
) -> None:
    shared = replace(ON, redis_url=valkey_server.url, redis_timeout_s=5.0)
    three, two, there = make(3, ""), make(2, "TWO!"), make(3, "THREE!!!")
    with seats_counted() as seats:
        async with cached(three, two, cache=shared) as first, cached(there, cache=shared) as second:
            async with moved(first, three, ask, seats) as asked:
                asked.append(asyncio.ensure_future(ask(second, "m@3")))
                await second.until(1, names.CACHE_FLIGHTS)
                before = len(there.calls)
            leading, insisting = [await one for one in asked]
            kept = await ask(second, "m", ONLY)
    assert before == 0, "it was to follow, and not to compute itself"
    assert leading == ("TWO!", 2)
    # What it computed is kept for its version.
    assert insisting == kept == ("THREE!!!", 3)
