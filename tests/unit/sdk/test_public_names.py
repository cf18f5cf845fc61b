import inspect
import subprocess
import sys
from pathlib import Path

import forebay.client
from forebay.cache.v1.cache_service_pb2 import DESCRIPTOR as CACHE
from forebay.client import AsyncClient, Client, methods
from forebay.client.cache import AsyncCache, Cache
from forebay.client.dead_letters import AsyncDeadLetters, DeadLetters
from forebay.client.repository import AsyncRepository, Repository
from forebay.client.schedules import AsyncSchedules, Schedules
from forebay.inference.v1.inference_service_pb2 import DESCRIPTOR as INFERENCE
from forebay.models.v1.model_service_pb2 import DESCRIPTOR as MODELS
from forebay.queues.v1.queue_service_pb2 import DESCRIPTOR as QUEUES
from forebay.tasks.v1.schedule_service_pb2 import DESCRIPTOR as SCHEDULES
from forebay.tasks.v1.task_service_pb2 import DESCRIPTOR as TASKS

NAMES = """
Ahead AlreadyExists AsyncClient CallCancelled CancelProgress CancelSummary Choice Chunk Client Conflict DeadLetter
DeadlineExceeded EmbedAnswer EmbedResult Estimate Execution Explanation FailedPrecondition FieldFault
ForebayClientError GenerateChunk GenerateResult InferAnswer InternalError
InvalidArgument LaneInfo ModelInfo NotFound OutOfRange PauseInfo PermissionDenied Phase PolicyChanges PolicyInfo
PolicyLimit Priority QueueInfo QuotaViolation ReplaySummary RepositoryInfo ResourceExhausted RetryPolicy RunnerInfo
ScheduleInfo SubmitManyError TaskEvent TaskFailedError TaskHandle TaskInfo TaskOptions TaskRef TaskState
TenantLoad TensorInfo Timing TokenLogprob TopLogprob Unauthenticated Unavailable Usage WaitReason
task_spec to_array to_tensor
CacheAdvice CacheForetold CacheHeld CacheModelUse CacheNamespace CachePurged
CacheStats CacheSuggestion CacheTier CacheTierSettings CachedAnswer KeptAnswer Warmed
""".split()

METHODS = """
cancel cancel_all_matching cancel_matching close embed explain generate get infer list models pause pauses policy
queues resume runners stream submit submit_many submit_specs update update_policy wait wait_many wait_tasks watch
""".split()


def public(kind: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(member).parameters)
        for part in kind.__mro__
        if part is not object
        for name, member in vars(part).items()
        if not name.startswith("_") and name != "over"
    }


def test_the_public_names_are_these() -> None:
    assert sorted(forebay.client.__all__) == sorted(NAMES)
    assert all(hasattr(forebay.client, name) for name in NAMES)


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    assert sorted(public(Client)) == sorted(METHODS)
    assert public(Client) == public(AsyncClient)
    made = [list(inspect.signature(kind).parameters) for kind in (Client, AsyncClient)]
    assert made[0] == made[1]


def test_their_parts_have_the_same_methods_with_the_same_parameters() -> None:
    assert public(DeadLetters) == public(AsyncDeadLetters)
    assert public(Schedules) == public(AsyncSchedules)
    assert public(Cache) == public(AsyncCache)
    assert public(Repository) == public(AsyncRepository)


def test_every_method_exists_in_the_contract_with_these_messages() -> None:
    known = {
        f"{service.full_name}/{method.name}": (method.input_type, method.output_type)
        for file in (TASKS, SCHEDULES, QUEUES, MODELS, INFERENCE, CACHE)
        for service in file.services_by_name.values()
        for method in service.methods
    }
    used = [method for method in vars(methods).values() if isinstance(method, methods.Method)]
    assert len(used) == 38
    for method in used:
        assert known[method.name] == (method.request.DESCRIPTOR, method.response.DESCRIPTOR)


def test_the_library_is_typed_and_needs_nothing_of_the_application() -> None:
    assert Path(forebay.client.__file__).with_name("py.typed").exists()
    program = (
        "import sys, forebay.client\n"
        "ours = {'services', 'scheduler', 'inference', 'observability'}\n"
        "found = ours & {name.split('.')[0] for name in sys.modules}\n"
        "assert not found, found\n"
        "assert 'opentelemetry.sdk' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=15, env={"PYTHONPATH": ":".join(sys.path)}
    )
