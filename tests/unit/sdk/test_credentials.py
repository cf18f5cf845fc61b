"""Keys that clients show, and limits that they are told of."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2

from forebay.client import (
    AsyncClient,
    Client,
    QuotaViolation,
    ResourceExhausted,
    RetryPolicy,
    SubmitManyError,
    Unauthenticated,
    task_spec,
)
from forebay.client.errors import from_status, to_status
from tests.unit.sdk.fake_gateway import FakeGateway, failure

ONCE = RetryPolicy(attempts=1)
FULL = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUOTA_EXCEEDED", retry_after_s=0.001)
packed = AnyMessage()
packed.Pack(
    error_details_pb2.QuotaFailure(
        violations=[
            error_details_pb2.QuotaFailure.Violation(
                subject="tenant t", description="at most 5 tasks may wait"
            )
        ]
    )
)
FULL.details.append(packed)


async def test_a_key_goes_with_every_call(
    address: str, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_API_KEY", "other")
    async with AsyncClient(address, api_key="mine") as client:
        await client.wait(await client.submit("m", prompt="x"))
    shown = [one["authorization"] for method in gateway.metadata.values() for one in method]
    assert shown == ["Bearer mine"] * 2


@pytest.mark.parametrize(("variable", "given", "shown"), [("mine", None, "Bearer mine"), ("mine", "", None)])
async def test_without_a_key_that_of_the_environment_is_shown(
    address: str,
    gateway: FakeGateway,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    given: str | None,
    shown: str | None,
) -> None:
    monkeypatch.setenv("FOREBAY_API_KEY", variable)
    async with AsyncClient(address, api_key=given) as client:
        await client.queues()
    assert gateway.metadata["ListQueues"][0].get("authorization") == shown


@pytest.mark.parametrize("key", ["two words", "naïve", "line\n"])
def test_what_can_be_no_key_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as raised:
        Client("127.0.0.1:1", api_key=key)
    assert key not in str(raised.value)


async def test_a_caller_that_is_not_known_is_not_tried_again(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.failures["ListQueues"].append(failure(grpc.StatusCode.UNAUTHENTICATED, "who?", "UNAUTHENTICATED"))
    with pytest.raises(Unauthenticated):
        await client.queues()
    assert len(gateway.seen["ListQueues"]) == 1


async def test_a_limit_that_is_reached_is_named(address: str, gateway: FakeGateway) -> None:
    gateway.failures["SubmitTasks"].append(FULL)
    async with AsyncClient(address, retry=ONCE) as client:
        with pytest.raises(ResourceExhausted) as raised:
            await client.submit("m", prompt="x")
    assert raised.value.reason == "QUOTA_EXCEEDED"
    assert raised.value.violations == (QuotaViolation("tenant t", "at most 5 tasks may wait"),)


async def test_tasks_over_a_limit_are_tried_again_without_the_others(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.refuse["full"] += [FULL, FULL]
    specs = [task_spec(model, prompt=model) for model in ("m", "full", "m", "full")]
    handles = await client.submit_many(specs)
    assert [len(request.tasks) for request in gateway.seen["SubmitTasks"]] == [4, 2]
    assert len({handle.id for handle in handles}) == 4


async def test_tasks_that_stay_over_a_limit_say_which(address: str, gateway: FakeGateway) -> None:
    gateway.refuse["full"].append(FULL)
    async with AsyncClient(address, retry=ONCE) as client:
        with pytest.raises(SubmitManyError) as raised:
            await client.submit_many([task_spec("m", prompt="x"), task_spec("full", prompt="y")])
    refused = raised.value.results[1]
    assert isinstance(refused, ResourceExhausted)
    assert refused.violations and refused.retry_after_s == 0.001


def test_an_error_becomes_a_status_and_the_same_error_again() -> None:
    error = from_status(FULL)
    again = from_status(to_status(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    plain = from_status(to_status(from_status(failure(grpc.StatusCode.UNAVAILABLE, "away"))))
    assert (plain.message, plain.retry_after_s, plain.violations) == ("away", None, ())
