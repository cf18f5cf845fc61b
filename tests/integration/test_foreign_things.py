"""Every call of every door with the things of another tenant: answered as if they were not there, and nothing of them
is told. The gateway itself says which calls there are, so one that is new fails until it is in a table here.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict
from google.rpc import status_pb2
from grpc_reflection.v1alpha import reflection_pb2

from forebay.cache.v1 import cache_service_pb2 as caching
from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.tasks.v1 import schedule_service_pb2 as schedules
from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1 import task_service_pb2 as tasks
from scheduler.policies.policy import Limit, Policy
from services.gateway.caller import OPEN_METHODS, OPERATOR_METHODS
from services.reflection import V1, V1ALPHA
from tests.integration import things as made
from tests.integration.cached_gateway import Cached, cached
from tests.integration.test_cache_isolation import write_keys
from tests.integration.things import ACME, OTHER, WORD, Key, Things

READING = ("TaskService/GetTask", "TaskService/ListDeadLetters", "ScheduleService/ListSchedules")
ENDLESS = ("Watch", "WatchTasks", "StreamOutput")
"""Methods of which the first message is enough."""
ONLY = task_pb2.CACHE_MODE_ONLY
Requests = Callable[[Things], Sequence[Any]]
"""Makes what is asked of one method with the things of somebody."""


def ids(*named: str) -> tasks.TaskIds:
    return tasks.TaskIds(ids=named)


def labelled(label: str) -> tasks.TaskFilter:
    return tasks.TaskFilter(labels={label: ""})


def submits(one: Things) -> Sequence[Any]:
    child, taking = made.waiting("x"), made.waiting("{{a}}")
    for spec in (child, taking):
        spec.depends_on.add(id=one.done)
    taking.inputs_from.add(parent=0, output="text", input="a")
    asked = (made.keyed(one), child, taking, made.task(one, cache=ONLY), made.task(one))
    return [tasks.SubmitTasksRequest(tasks=[spec]) for spec in asked]


def scopes(one: Things) -> list[caching.CacheScope]:
    return [caching.CacheScope(), caching.CacheScope(tenant=one.tenant)]


def by_kserve(one: Things) -> kserve.ModelInferRequest:
    request = kserve.ModelInferRequest(model_name="m", raw_input_contents=[one.raw])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.parameters["cache"].string_param = "ONLY"
    return request


NAMING: dict[str, Requests] = {
    "TaskService/GetTask": lambda one: [
        tasks.GetTaskRequest(id=task, include_input=full) for task in one.tasks for full in (False, True)
    ],
    "TaskService/ExplainTask": lambda one: [tasks.ExplainTaskRequest(id=task) for task in one.tasks],
    "TaskService/ListTasks": lambda one: [
        tasks.ListTasksRequest(filter=labelled(one.label)),
        tasks.ListTasksRequest(page_size=1, page_token=one.tasks_page),
    ],
    "TaskService/WatchTasks": lambda one: [
        tasks.WatchTasksRequest(tasks=ids(task), include_result=True) for task in one.tasks
    ],
    "TaskService/StreamOutput": lambda one: [tasks.StreamOutputRequest(id=task) for task in one.tasks[1:4]],
    "TaskService/ListDeadLetters": lambda one: [
        tasks.ListDeadLettersRequest(page_size=1, page_token=one.letters_page)
    ],
    "TaskService/GetDeadLetter": lambda one: [tasks.GetDeadLetterRequest(id=one.letter)],
    "ScheduleService/GetSchedule": lambda one: [schedules.GetScheduleRequest(name=one.schedule)],
    "ScheduleService/ListSchedules": lambda one: [
        schedules.ListSchedulesRequest(page_size=1, page_token=one.schedules_page)
    ],
    "ScheduleService/RunSchedule": lambda one: [schedules.RunScheduleRequest(name=one.schedule)],
    "ScheduleService/PauseSchedule": lambda one: [schedules.PauseScheduleRequest(name=one.schedule)],
    "ScheduleService/ResumeSchedule": lambda one: [schedules.ResumeScheduleRequest(name=one.schedule)],
    "InferenceService/Infer": lambda one: [made.infer(one, cache=ONLY)],
    "InferenceService/Generate": lambda one: [made.generate(one, cache=ONLY)],
    "InferenceService/Embed": lambda one: [made.embed(one, cache=ONLY)],
    "GRPCInferenceService/ModelInfer": lambda one: [by_kserve(one)],
    "GRPCInferenceService/ModelStreamInfer": lambda one: [by_kserve(one)],
    "TaskService/SubmitTasks": submits,
    "CacheService/GetCachedAnswer": lambda one: [
        *(caching.GetCachedAnswerRequest(key=one.entry, scope=scope) for scope in scopes(one)),
        *(caching.GetCachedAnswerRequest(request=made.task(one), scope=scope) for scope in scopes(one)),
    ],
    "CacheService/WarmCache": lambda one: [caching.WarmCacheRequest(requests=[made.task(one)])],
    # From here on what is named is changed, where it is there.
    "CacheService/PurgeCache": lambda one: [
        caching.PurgeCacheRequest(key=one.entry, scope=scope) for scope in scopes(one)
    ],
    "TaskService/UpdateTasks": lambda one: [
        tasks.UpdateTasksRequest(tasks=ids(task), priority=task_pb2.PRIORITY_HIGH) for task in one.tasks
    ],
    "TaskService/CancelTasks": lambda one: [
        *(tasks.CancelTasksRequest(tasks=ids(task)) for task in one.tasks[:5]),
        tasks.CancelTasksRequest(filter=labelled(one.label)),
    ],
    "TaskService/CancelMatchingTasks": lambda one: [
        tasks.CancelMatchingTasksRequest(filter=labelled(one.other_label))
    ],
    "TaskService/ReplayTasks": lambda one: [tasks.ReplayTasksRequest(tasks=ids(one.letter))],
    "TaskService/PurgeDeadLetters": lambda one: [tasks.PurgeDeadLettersRequest(tasks=ids(one.other_letter))],
    "ScheduleService/DeleteSchedule": lambda one: [schedules.DeleteScheduleRequest(name=one.schedule)],
    "ScheduleService/CreateSchedule": lambda one: [
        schedules.CreateScheduleRequest(schedule=made.hourly(one.other_schedule, "mine"))
    ],
}
"""Methods that name what may be somebody's."""

NAMELESS = {
    *("CacheService/GetCacheStats", "CacheService/AdviseCache"),
    *(f"QueueService/{name}Queue" for name in ("Pause", "Resume")),
    *("QueueService/ListQueues", "QueueService/GetPolicy", "QueueService/UpdatePolicy"),
    *(f"ModelService/{name}" for name in ("ListModels", "ListRunners", "ListRepository")),
    *(f"ModelService/{name}Model" for name in ("Load", "Unload")),
    *(f"GRPCInferenceService/Server{name}" for name in ("Live", "Ready", "Metadata")),
    *(f"GRPCInferenceService/Model{name}" for name in ("Ready", "Metadata", "Config", "Statistics")),
    *(f"GRPCInferenceService/Repository{name}" for name in ("Index", "ModelLoad", "ModelUnload")),
    *(
        f"GRPCInferenceService/{kind}SharedMemory{name}"
        for kind in ("System", "Cuda")
        for name in ("Status", "Register", "Unregister")
    ),
    *("GRPCInferenceService/TraceSetting", "GRPCInferenceService/LogSettings"),
    *("Health/Check", "Health/Watch"),
}
"""Methods that name no thing of a tenant. They must not tell of one, either."""


async def methods(channel: grpc.aio.Channel) -> dict[str, Any]:
    """Return what the gateway says that it serves: descriptors by service and method."""

    async def asking() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    call = channel.stream_stream(
        f"/{V1}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(asking(), timeout=made.WITHIN_S)
    [answer] = [one async for one in call]
    pool: Any = descriptor_pool.Default()
    return {
        f"{service.name}/{method.name}": method
        for named in answer.list_services_response.service
        if named.name not in (V1, V1ALPHA)
        for service in [pool.FindServiceByName(named.name)]
        for method in service.methods
    }


async def outcome(channel: grpc.aio.Channel, method: Any, request: Any, key: Key) -> str:
    """Call a method; return what is told, or the failure with its details."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, kind)(
        path,
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )

    async def asking() -> AsyncIterator[Any]:
        yield request

    told = call(asking() if method.client_streaming else request, timeout=made.WITHIN_S, metadata=key)
    answers: list[Any] = []
    try:
        if not method.server_streaming:
            answers.append(await told)
        while method.server_streaming and (one := await told.read()) is not grpc.aio.EOF:
            answers.append(one)
            if method.name in ENDLESS:
                break
    except grpc.aio.AioRpcError as error:
        raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        assert isinstance(raw, bytes)
        failure = MessageToDict(status_pb2.Status.FromString(raw))
        return f"{error.code().name}: {error.details()} {json.dumps(failure, sort_keys=True)}"
    finally:
        told.cancel()
    return json.dumps([MessageToDict(one) for one in answers], sort_keys=True)


def blurred(told: str, named: Things) -> str:
    """Return what was told with words for what differs from call to call, and for what was asked by name."""
    told = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*Z"|"\d+(\.\d+)?s"', '"<time>"', named.anonymous(told))
    return re.sub(r"\d\d-[0-9a-z]{26}", "<id>", told)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[Cached, Key, Key]]:
    """A gateway that keeps answers, with the keys of two tenants; its policy names one of them."""
    path, keys = write_keys(tmp_path, ACME, OTHER)
    policy = Policy(tenant_weights={ACME: 2.0}, limits=(Limit(tenant=ACME, queued_tasks=1_000),))
    async with cached(*made.runners(), keys=path, policy=policy) as started:
        acme, other = keys
        yield started, (("x-api-key", acme),), (("x-api-key", other),)


async def test_every_method_answers_as_if_the_things_of_another_tenant_were_not_there(
    gateway: tuple[Cached, Key, Key],
) -> None:
    cached_gateway, acme, other = gateway
    channel = cached_gateway.system.channel
    theirs, nobodys = await made.make(cached_gateway, acme), made.nobodys()
    served = await methods(channel)
    assert served.keys() == NAMING.keys() | NAMELESS

    async def swept(key: Key, one: Things, names: Sequence[str]) -> list[tuple[str, str]]:
        return [
            (f"{name} {one.anonymous(str(request))}", await outcome(channel, served[name], request, key))
            for name in names
            for request in NAMING[name](one)
        ]

    state = [*READING, "CacheService/GetCachedAnswer"]
    before = await swept(acme, theirs, state)
    wrong = []
    for name in NAMING:
        found = await swept(other, theirs, [name])
        absent = await swept(other, nobodys, [name])
        for (asked, told), (_, as_well) in zip(found, absent, strict=True):
            if WORD in as_well or any(one in as_well for one in theirs.tasks):
                wrong.append(f"{asked} tells of others: {as_well}")
            if blurred(told, theirs) != blurred(as_well, nobodys):
                wrong.append(f"{asked}: {told}, and where nobody has it {as_well}")
    assert not wrong, "\n".join(wrong)
    assert await swept(acme, theirs, state) == before, "what it has was changed by another one"
    # Whose they are is told something else each time: else there would be nothing to be kept apart.
    for name in NAMING:
        found, absent = await swept(acme, theirs, [name]), await swept(acme, nobodys, [name])
        for (asked, told), (_, as_well) in zip(found, absent, strict=True):
            if blurred(told, theirs) == blurred(as_well, nobodys):
                wrong.append(f"{asked} does not tell whether it is there: {told}")
    assert not wrong, "\n".join(wrong)


async def test_methods_that_name_nothing_of_a_tenant_tell_nothing_of_one_and_those_for_operators_are_refused(
    gateway: tuple[Cached, Key, Key],
) -> None:
    cached_gateway, acme, other = gateway
    channel = cached_gateway.system.channel
    theirs = await made.make(cached_gateway, acme)
    served = await methods(channel)
    everything: dict[str, Sequence[Any]] = {
        "CacheService/GetCacheStats": [caching.GetCacheStatsRequest(namespaces=True, models=True, most=100)],
        "CacheService/GetCachedAnswer": [
            caching.GetCachedAnswerRequest(key=theirs.entry, scope=caching.CacheScope(tenant=ACME))
        ],
        "CacheService/PurgeCache": [
            caching.PurgeCacheRequest(everything=True, scope=caching.CacheScope(all_tenants=True)),
            caching.PurgeCacheRequest(everything=True, scope=caching.CacheScope(tenant=ACME)),
        ],
        **{
            f"TaskService/{name}": [
                message_factory.GetMessageClass(served[f"TaskService/{name}"].input_type)()
            ]
            for name in ("ListTasks", "ListDeadLetters")
        },
        "ScheduleService/ListSchedules": [schedules.ListSchedulesRequest()],
        "TaskService/CancelMatchingTasks": [tasks.CancelMatchingTasksRequest(filter=tasks.TaskFilter())],
    }
    for name in sorted(NAMELESS | everything.keys()):
        method = served[name]
        for request in everything.get(name, [message_factory.GetMessageClass(method.input_type)()]):
            told = await outcome(channel, method, request, other)
            assert WORD not in told.replace(ACME, "" if ACME in str(request) else ACME), (name, told)
            assert not any(one in told for one in theirs.tasks), (name, told)
            if method.name in OPERATOR_METHODS or ACME in str(request) or "all_tenants" in str(request):
                assert told.startswith("PERMISSION_DENIED"), (name, told)
    mine = caching.GetCacheStatsRequest(namespaces=True)
    held = await outcome(channel, served["CacheService/GetCacheStats"], mine, acme)
    assert ACME in held, "what was to be kept from others"


async def test_no_method_answers_whoever_has_no_key_but_those_that_probes_call(
    gateway: tuple[Cached, Key, Key],
) -> None:
    channel = gateway[0].system.channel
    for name, method in (await methods(channel)).items():
        full_name = f"{method.containing_service.full_name}/{method.name}"
        request = message_factory.GetMessageClass(method.input_type)()
        for key in ((), (("x-api-key", "wrong"),)):
            told = await outcome(channel, method, request, key)
            is_open = full_name in OPEN_METHODS or name.startswith("Health/")
            assert told.startswith("UNAUTHENTICATED") is not is_open, (name, told)
