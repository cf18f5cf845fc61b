"""Every route of the gateway's HTTP port with what another tenant asked, and watches beside its tasks."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from forebay.tasks.v1 import task_service_pb2 as tasks
from scheduler.policies.policy import Limit, Policy
from services.gateway import app
from services.gateway.http import application
from tests.integration import things as made
from tests.integration.cached_gateway import Cached, cached
from tests.integration.test_cache_isolation import by, write_keys
from tests.integration.things import ACME, OTHER, WORD, Things

Body = dict[str, Any]


def tensors(one: Things) -> Body:
    numbers = list(struct.unpack("<2f", one.raw))
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": numbers}
    return {"inputs": [tensor], "parameters": {"cache": "ONLY"}}


def text(one: Things) -> Body:
    return {"text_input": one.prompt, "parameters": {"cache": "ONLY"}}


ASKING: dict[tuple[str, str], tuple[str, Callable[[Things], Body]]] = {
    ("POST", f"/v2/models/{{model}}{version}/{action}"): (model, body)
    for version in ("", "/versions/{version}")
    for action, model, body in (
        ("infer", "m", tensors),
        ("generate", "g", text),
        ("generate_stream", "g", text),
    )
}
"""Routes that ask a model something, with the model and what is asked."""

OPEN = {
    *(
        ("GET", path)
        for path in ("/metrics", "/metrics/targets", "/healthz", "/readyz", "/openapi.json", "/docs")
    ),
    *(("GET", path) for path in ("/v2", "/v2/health/live", "/v2/health/ready")),
}
"""Routes that ask nobody for a key."""
MODEL = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
NAMELESS = {
    *(
        ("GET", path)
        for path in ("/metrics", "/metrics/targets", "/healthz", "/readyz", "/openapi.json", "/docs")
    ),
    *(("GET", path) for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats")),
    *(("GET", f"{path}{rest}") for path in MODEL for rest in ("", "/ready", "/config", "/stats")),
    ("POST", "/v2/repository/index"),
    *(("POST", f"/v2/repository/models/{{model}}/{action}") for action in ("load", "unload")),
    *(
        (method, path)
        for method in ("GET", "POST")
        for path in (
            *("/v2/logging", "/v2/trace/setting", "/v2/models/{model}/trace/setting"),
            *(
                f"/v2/{kind}sharedmemory/{region}{action}"
                for kind in ("system", "cuda")
                for region in ("", "region/{region}/")
                for action in ("status", "register", "unregister")
            ),
        )
    ),
}
"""Routes that name no thing of a tenant. They must not tell of one, either."""


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> list[web.Application]:
    """The HTTP ports of the gateways of a test."""
    applications: list[web.Application] = []

    def noted(*given: Any) -> web.Application:
        applications.append(application(*given))
        return applications[-1]

    monkeypatch.setattr(app, "application", noted)
    return applications


@pytest.fixture
async def gateway(tmp_path: Path, apps: list[web.Application]) -> AsyncIterator[tuple[Cached, str, str]]:
    """A gateway that keeps answers, with the keys of two tenants; its policy names one of them."""
    path, (acme, other) = write_keys(tmp_path, ACME, OTHER)
    policy = Policy(tenant_weights={ACME: 2.0}, limits=(Limit(tenant=ACME, queued_tasks=1_000),))
    async with cached(*made.runners(), keys=path, policy=policy) as started:
        yield started, acme, other


async def test_every_route_answers_as_if_what_another_tenant_asked_had_not_been_asked(
    gateway: tuple[Cached, str, str], apps: list[web.Application]
) -> None:
    cached_gateway, acme, other = gateway
    theirs = await made.make(cached_gateway, (("x-api-key", acme),))
    address = f"http://{cached_gateway.system.gateway.http_address}"

    async def told(route: tuple[str, str], key: str, model: str, body: Body | None) -> tuple[int, str]:
        method, path = route
        path = path.replace("{model}", model).replace("{version}", "1").replace("{region}", "r")
        async with session.request(
            method, f"{address}{path}", json=body, headers={"x-api-key": key}
        ) as response:
            return response.status, await response.text()

    [served] = apps
    routes = {
        (route.method, route.resource.canonical)
        for route in served.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    assert routes == ASKING.keys() | NAMELESS
    async with aiohttp.ClientSession() as session:
        for route, (model, body) in ASKING.items():
            absent = await told(route, other, model, body(made.nobodys()))
            assert absent[0] == 404, (route, absent)
            assert await told(route, other, model, body(theirs)) == absent, route
            if "{version}" not in route[1]:
                # Whose it is has it.
                assert (await told(route, acme, model, body(theirs)))[0] == 200, route
        for route in sorted(NAMELESS):
            status, page = await told(route, other, "m", {} if route[0] == "POST" else None)
            assert WORD not in page and not any(one in page for one in theirs.tasks), route
            if route[1].startswith("/v2/repository/models"):
                assert status == 403, route
        for route in sorted(ASKING.keys() | NAMELESS):
            status, _ = await told(route, "wrong", "m", {} if route[0] == "POST" else None)
            assert (status == 401) is not (route in OPEN), (route, status)


async def test_a_watch_of_everything_or_of_a_label_tells_of_the_callers_own_tasks_alone(
    gateway: tuple[Cached, str, str],
) -> None:
    cached_gateway, acme, other = gateway
    stub = cached_gateway.system.tasks
    everything = tasks.WatchTasksRequest(all=tasks.AllTasks(), include_result=True)
    labelled = tasks.WatchTasksRequest(
        selector=tasks.LabelSelector(labels={"canary-label": ""}), include_result=True
    )
    watches = [stub.WatchTasks(request, timeout=10, **by(other)) for request in (everything, labelled)]
    for watch in watches:
        assert not (await watch.read()).tasks, "the batch from which on nothing is missed"
    theirs = await made.make(cached_gateway, (("x-api-key", acme),))
    mine = made.waiting("mine", labels={theirs.label: ""})
    request = tasks.SubmitTasksRequest(tasks=[mine])
    [submitted] = (await stub.SubmitTasks(request, timeout=5, **by(other))).results
    async with asyncio.timeout(10):
        for watch in watches:
            batch = await watch.read()
            assert [task.id for task in batch.tasks] == [submitted.task.id]
            watch.cancel()
