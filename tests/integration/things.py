"""What one tenant has at a gateway, and names of things that nobody has: for tests of what others see of it."""

import time
from dataclasses import dataclass, fields
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from forebay.cache.v1 import cache_service_pb2, cache_service_pb2_grpc
from forebay.inference.v1 import inference_service_pb2_grpc
from forebay.inference.v1.inference_service_pb2 import EmbedRequest, GenerateRequest, InferRequest
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, schedule_service_pb2, schedule_service_pb2_grpc, task_service_pb2
from forebay.tasks.v1.schedule_service_pb2 import Schedule
from forebay.tasks.v1.task_pb2 import RetryPolicy, TaskSpec
from scheduler.errors import ModelFailed
from scheduler.ids import new_ids
from scheduler.ports.records import Ending
from scheduler.states import TaskState
from services.status import to_status
from tests.direct_runners import FakeRunner
from tests.integration.cached_gateway import Cached, language_runner, said, tensor_runner

ACME, OTHER = "acme-canary", "other"
"""Tenants. Whatever is the first one's own has the word in it."""
WORD = "canary"
WITHIN_S = 10
Key = tuple[tuple[str, str], ...]
"""Metadata of a call that say whose it is."""


@dataclass(frozen=True)
class Things:
    """What requests name."""

    queued: str
    born: str
    """A task that ended as it was accepted, with an answer that was kept."""
    running: str
    done: str
    child: str
    letter: str
    other_letter: str
    swept: str
    """A task with a label of its own."""
    label: str
    other_label: str
    schedule: str
    other_schedule: str
    idempotency_key: str
    entry: str
    """The key of an answer that is kept."""
    tasks_page: str
    letters_page: str
    schedules_page: str
    prompt: str
    """What models were asked; eight bytes."""
    tenant: str

    @property
    def tasks(self) -> list[str]:
        return [self.queued, self.born, self.running, self.done, self.child, self.letter, self.swept]

    @property
    def raw(self) -> bytes:
        return self.prompt.encode()

    def anonymous(self, text: str) -> str:
        """Return a text with the name of what is meant in the place of its name here, the longest first."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in sorted(named.items(), key=lambda one: -len(one[1])):
            text = text.replace(value, f"<{name}>")
        return text


def nobodys() -> Things:
    """Return names that could be those of somebody's things, and are not."""
    ids = new_ids(7, 8, int(time.time() * 1000))
    return Things(
        **dict(zip([field.name for field in fields(Things)], ids, strict=False)),
        **{"label": "no-label", "other_label": "no-other-label"},
        **{"schedule": "no-schedule", "other_schedule": "no-other-schedule"},
        **{"idempotency_key": "no-key", "entry": "0" * 64},
        **{"tasks_page": "no-tasks", "letters_page": "no-letters", "schedules_page": "no-schedules"},
        **{"prompt": "nobodys!", "tenant": "nobody"},
    )


def infer(things: Things, **more: Any) -> InferRequest:
    return InferRequest(model="m", tensors=task(things).tensors, **more)


def generate(things: Things, **more: Any) -> GenerateRequest:
    return GenerateRequest(model="g", generate=inputs_pb2.GenerateInput(prompt=things.prompt), **more)


def embed(things: Things, **more: Any) -> EmbedRequest:
    return EmbedRequest(model="e", embed=inputs_pb2.EmbedInput(texts=[things.prompt]), **more)


def task(things: Things, **more: Any) -> TaskSpec:
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=things.raw)
    return TaskSpec(model="m", tensors=inputs_pb2.TensorInput(tensors=[one]), **more)


def waiting(text: str, **more: Any) -> TaskSpec:
    """Return a task of a model that nobody has."""
    return TaskSpec(model="later", generate=inputs_pb2.GenerateInput(prompt=text), **more)


def keyed(things: Things) -> TaskSpec:
    return waiting("canary prompt", labels={things.label: ""}, idempotency_key=things.idempotency_key)


def hourly(name: str, text: str = "canary prompt") -> Schedule:
    return Schedule(name=name, spec=waiting(text), interval=Duration(seconds=3600))


def runners() -> list[FakeRunner]:
    """Return a runner for tensors, one that generates, and one that embeds; what they say has the word in it."""

    def embedding(call: Call) -> Answer:
        answer = Answer(id=call.id, started=True, execute_us=1000)
        answer.embed.embeddings.add(values=[0.5])
        return answer

    card = model_service_pb2.Model(name="e", engine=model_service_pb2.ENGINE_KIND_EMBED)
    embeds = FakeRunner(id="r3", model="e", card=card, answers_digest="weights", answer=embedding)
    generates = language_runner(lambda call: said(call, f"{WORD} answer")[-1], id="r2", model="g")
    assert generates.card is not None
    generates.card.name = "g"
    return [tensor_runner(), generates, embeds]


async def make(gateway: Cached, key: Key) -> Things:
    """Let a tenant have something of everything."""
    channel, records = gateway.system.channel, gateway.store.records
    names = nobodys()
    mine = Things(
        **{
            **{field.name: getattr(names, field.name) for field in fields(Things)},
            **{"label": "canary-label", "other_label": "canary-other"},
            **{"schedule": "canary-schedule", "other_schedule": "canary-other-schedule"},
            **{"idempotency_key": "canary-key", "prompt": "canary!!", "tenant": ACME},
        }
    )
    direct: Any = inference_service_pb2_grpc.InferenceServiceStub(channel)
    await direct.Infer(infer(mine), timeout=WITHIN_S, metadata=key)
    await direct.Embed(embed(mine), timeout=WITHIN_S, metadata=key)
    assert [one async for one in direct.Generate(generate(mine), timeout=WITHIN_S, metadata=key)]
    once = RetryPolicy(max_attempts=1)
    specs = [
        keyed(mine),
        task(mine),
        *(waiting(f"{WORD} {number}", retry=once) for number in range(4)),
        waiting(WORD, labels={mine.other_label: ""}),
    ]
    specs.append(waiting("canary child"))
    specs[-1].depends_on.add(index=0)
    request = task_service_pb2.SubmitTasksRequest(tasks=specs)
    results = (await gateway.system.tasks.SubmitTasks(request, timeout=WITHIN_S, metadata=key)).results
    queued, born, running, done, letter, other_letter, swept, child = [one.task.id for one in results]
    assert results[1].task.cached
    await gateway.system.lease(running, done, letter, other_letter)
    await gateway.system.write(running, "canary text")
    await gateway.system.finish(done, text="canary result")
    error = to_status(ModelFailed("canary fault")).SerializeToString()
    endings = [
        Ending(one, 1, TaskState.FAILED, error=error, reason="MODEL_FAILED", retry_in_ms=0)
        for one in (letter, other_letter)
    ]
    await records.finish(endings)
    schedules: Any = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
    for name in (mine.schedule, mine.other_schedule):
        made = schedule_service_pb2.CreateScheduleRequest(schedule=hourly(name))
        await schedules.CreateSchedule(made, timeout=WITHIN_S, metadata=key)
    return await _completed(
        gateway, channel, key, mine, queued, born, running, done, child, letter, other_letter, swept
    )


async def _completed(gateway: Cached, channel: grpc.aio.Channel, key: Key, mine: Things, *ids: str) -> Things:
    """Fill in what only the gateway can name: ids, the key of an answer, tokens of pages."""
    caching: Any = cache_service_pb2_grpc.CacheServiceStub(channel)
    schedules: Any = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
    tasks = gateway.system.tasks
    named = {field.name: getattr(mine, field.name) for field in fields(Things)}
    named.update(zip(list(named)[: len(ids)], ids, strict=True))
    asked = cache_service_pb2.GetCachedAnswerRequest(request=task(mine))
    named["entry"] = (await caching.GetCachedAnswer(asked, timeout=WITHIN_S, metadata=key)).key
    for name, method, request in (
        ("tasks_page", tasks.ListTasks, task_service_pb2.ListTasksRequest(page_size=1)),
        ("letters_page", tasks.ListDeadLetters, task_service_pb2.ListDeadLettersRequest(page_size=1)),
        ("schedules_page", schedules.ListSchedules, schedule_service_pb2.ListSchedulesRequest(page_size=1)),
    ):
        named[name] = (await method(request, timeout=WITHIN_S, metadata=key)).next_page_token
        assert named[name]
    return Things(**named)
