import grpc
import pytest

from forebay.client import (
    AlreadyExists,
    AsyncClient,
    InvalidArgument,
    ResourceExhausted,
    SubmitManyError,
    TaskHandle,
    TaskState,
    Unavailable,
    task_spec,
)
from forebay.client.submitting import MOST_BYTES
from tests.unit.sdk.fake_gateway import UNAVAILABLE, FakeGateway, failure


async def test_a_task_is_submitted_and_named(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.hold = True
    task = await client.submit("smollm2", prompt="Hi", priority="high", labels={"a": "b"})
    assert task.state is TaskState.QUEUED
    assert task.create_time is not None and task.create_time.tzinfo is not None
    assert dict(gateway.specs[task.id].labels) == {"a": "b"}


async def test_many_tasks_go_in_calls_of_a_thousand_and_come_back_in_order(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    handles = await client.submit_many(task_spec("m", prompt=str(n)) for n in range(2_500))
    assert sorted(len(request.tasks) for request in gateway.seen["SubmitTasks"]) == [500, 1000, 1000]
    assert [gateway.specs[handle.id].generate.prompt for handle in handles] == [str(n) for n in range(2_500)]


async def test_large_tasks_go_in_calls_that_a_server_takes(client: AsyncClient, gateway: FakeGateway) -> None:
    spec = task_spec("m", prompt="x" * (1 << 20))
    await client.submit_many([spec] * 40)
    assert len(gateway.seen["SubmitTasks"]) == 3
    assert all(request.ByteSize() <= MOST_BYTES + (1 << 16) for request in gateway.seen["SubmitTasks"])


async def test_nothing_to_submit_is_no_call(client: AsyncClient, gateway: FakeGateway) -> None:
    assert await client.submit_many([]) == []
    assert not gateway.seen["SubmitTasks"]


async def test_an_answer_that_got_lost_does_not_make_a_second_task(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.lost_answers = 2
    handles = await client.submit_many([task_spec("m", prompt=str(n)) for n in range(3)])
    assert len(gateway.seen["SubmitTasks"]) == 3
    assert sorted(gateway.tasks) == [handle.id for handle in handles]


async def test_every_task_gets_a_key_of_its_own_and_keeps_one_that_it_has(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    mine = task_spec("m", prompt="x", idempotency_key="mine")
    other = task_spec("m", prompt="x")
    await client.submit_many([mine, other, other])
    keys = [spec.idempotency_key for spec in gateway.specs.values()]
    assert keys[0] == "mine"
    assert len(set(keys)) == 3
    assert all(key.startswith("auto-") and len(key) < 64 for key in keys[1:])


async def test_submitting_one_spec_twice_makes_two_tasks_and_leaves_it_unchanged(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    spec = task_spec("m", prompt="x")
    await client.submit_many([spec])
    await client.submit_many([spec])
    assert len(gateway.tasks) == 2
    assert spec.idempotency_key == ""


async def test_without_keys_a_submit_is_made_once(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.failures["SubmitTasks"].append(UNAVAILABLE)
    with pytest.raises(Unavailable):
        await client.submit_specs([task_spec("m", prompt="x")], idempotent=False)
    assert len(gateway.seen["SubmitTasks"]) == 1
    await client.submit_specs([task_spec("m", prompt="x")], idempotent=False)
    assert gateway.seen["SubmitTasks"][-1].tasks[0].idempotency_key == ""


async def test_tasks_that_met_a_fault_of_the_servers_are_tried_again_without_the_others(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.refuse["weak"].append(UNAVAILABLE)
    handles = await client.submit_many([task_spec("m", prompt="x"), task_spec("weak", prompt="y")])
    assert [len(request.tasks) for request in gateway.seen["SubmitTasks"]] == [2, 1]
    first, second = gateway.seen["SubmitTasks"]
    assert first.tasks[1].idempotency_key == second.tasks[0].idempotency_key
    assert gateway.specs[handles[1].id].model == "weak"


async def test_one_bad_task_does_not_take_the_handles_of_the_others_away(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    bad = failure(
        grpc.StatusCode.INVALID_ARGUMENT, "bad", "INVALID_INPUT", faults={"tasks[1].model": "unknown"}
    )
    gateway.refuse["bad"].append(bad)
    specs = [task_spec(model, prompt="x") for model in ("m", "bad", "m")]
    with pytest.raises(SubmitManyError, match="1 of 3 tasks were not accepted") as caught:
        await client.submit_many(specs)
    first, second, third = caught.value.results
    assert isinstance(first, TaskHandle) and isinstance(third, TaskHandle)
    assert isinstance(second, InvalidArgument)
    assert second.reason == "INVALID_INPUT"
    assert [(fault.field, fault.fault) for fault in second.faults] == [("tasks[1].model", "unknown")]


async def test_a_call_that_fails_among_others_becomes_the_answer_of_its_tasks(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.failures["SubmitTasks"].append(failure(grpc.StatusCode.PERMISSION_DENIED))
    with pytest.raises(SubmitManyError) as caught:
        await client.submit_many([task_spec("m", prompt="x")] * 1_500)
    accepted = [result for result in caught.value.results if isinstance(result, TaskHandle)]
    assert len(accepted) in (500, 1_000)


async def test_a_single_task_raises_its_own_error(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.refuse["m"].append(failure(grpc.StatusCode.ALREADY_EXISTS, "taken", "IDEMPOTENCY_KEY_REUSED"))
    with pytest.raises(AlreadyExists, match="taken") as caught:
        await client.submit("m", prompt="x", idempotency_key="k")
    assert caught.value.metadata == {"a": "b"}


async def test_an_overloaded_server_is_given_the_time_that_it_asks_for(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    busy = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", retry_after_s=0.01)
    gateway.failures["SubmitTasks"] += [busy, busy]
    await client.submit("m", prompt="x")
    assert len(gateway.seen["SubmitTasks"]) == 3


async def test_a_limit_without_a_hint_is_final(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.failures["SubmitTasks"].append(failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large"))
    with pytest.raises(ResourceExhausted):
        await client.submit("m", prompt="x")
    assert len(gateway.seen["SubmitTasks"]) == 1


async def test_tasks_that_name_each_other_by_place_are_tried_again_together(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.refuse["late"].append(UNAVAILABLE)
    specs = [task_spec("m", prompt="a"), task_spec("late", prompt="b", depends_on=[0])]
    handles = await client.submit_many(specs)
    first, second = gateway.seen["SubmitTasks"]
    assert first.tasks == second.tasks
    assert len({handle.id for handle in handles}) == 2


async def test_places_mean_nothing_across_calls(client: AsyncClient) -> None:
    specs = [task_spec("m", prompt="x", depends_on=[0] if n else []) for n in range(1001)]
    with pytest.raises(ValueError, match="must go in one call"):
        await client.submit_many(specs)
