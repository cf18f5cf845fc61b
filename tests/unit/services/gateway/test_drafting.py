"""Where drafted tasks live: keys decide, and a call stays together where it can."""

from contextlib import ExitStack

from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.ids import partition_of
from services.gateway.drafting import Drafter
from services.gateway.fingerprint import Fingerprints


def partitions(*keys: str) -> list[int]:
    specs = []
    for key in keys:
        spec = task_pb2.TaskSpec(model="m", idempotency_key=key)
        spec.generate.prompt = "hi"
        specs.append(spec)
    with ExitStack() as spans:
        draft = Drafter(("default",), Fingerprints(b"secret")).draft("acme", specs, 1_700_000_000_000, spans)
    return [partition_of(task.id) for task in draft.tasks]


def test_the_same_key_always_has_the_same_partition() -> None:
    assert partitions("one", "two") == partitions("one", "two")


def test_keys_of_different_calls_spread() -> None:
    assert len(set(partitions(*(f"job/{number}" for number in range(200))))) > 20


def test_keys_that_the_client_library_makes_for_one_call_share_a_partition() -> None:
    assert len(set(partitions(*(f"auto-Zk3/{number}" for number in range(200))))) == 1
    assert len(set(partitions(*(f"auto-{call}/0" for call in range(200))))) > 20


def test_tasks_without_keys_share_the_partition_of_their_call() -> None:
    assert len(set(partitions("", "", ""))) == 1


def test_the_label_that_tells_kinds_apart_can_change_at_any_time() -> None:
    drafter = Drafter(("default",), Fingerprints(b"secret"))
    spec = task_pb2.TaskSpec(model="m", labels={"kind": "chat", "use": "search"})
    spec.generate.prompt = "hi"

    def kind() -> str:
        with ExitStack() as spans:
            [task] = drafter.draft("acme", [spec], 1_700_000_000_000, spans).tasks
        return Envelope.FromString(task.envelope).kind

    assert kind() == "chat"
    drafter.cost_label = "use"
    assert kind() == "search"
