from hashlib import sha256

import pytest

from forebay.tasks.v1 import envelope_pb2, inputs_pb2, task_pb2
from scheduler.errors import InvalidInput, ModelFailed
from scheduler.ports.records import HistoryEntry, Record
from scheduler.states import Level, TaskState
from services.gateway import convert
from services.gateway.fingerprint import Fingerprints
from services.status import to_status

SPEC = task_pb2.TaskSpec(model="m", generate=inputs_pb2.GenerateInput(prompt="p"))


def seal(prompt: str) -> bytes:
    spec = task_pb2.TaskSpec(model="m", generate=inputs_pb2.GenerateInput(prompt=prompt))
    return convert.seal(
        "07-x",
        "t",
        spec,
        spec.SerializeToString(),
        pool="default",
        level=Level.HIGH,
        create_time_ms=5,
        deadline_ms=6,
        max_attempts=3,
        traceparent="00-a",
    )


def test_states_and_levels_have_the_numbers_of_the_contract() -> None:
    for state in TaskState:
        assert task_pb2.TaskState.Name(task_pb2.TaskState.ValueType(state)) == f"TASK_STATE_{state.name}"
    for level in Level:
        assert task_pb2.Priority.Name(task_pb2.Priority.ValueType(level)) == f"PRIORITY_{level.name}"
    assert convert.LEVELS[0] is Level.NORMAL
    assert all(convert.LEVELS[level] is level for level in Level)


def test_an_envelope_carries_its_spec_and_the_digest_of_it() -> None:
    envelope = envelope_pb2.Envelope.FromString(seal("hello"))
    assert envelope.sha256 == sha256(envelope.spec).digest()
    assert task_pb2.TaskSpec.FromString(envelope.spec).generate.prompt == "hello"
    assert (envelope.pool, envelope.priority, envelope.deadline_ms) == ("default", task_pb2.PRIORITY_HIGH, 6)


def test_an_envelope_carries_what_its_cost_is_foretold_by() -> None:
    def sealed(generate: inputs_pb2.GenerateInput | None = None, **labels: str) -> envelope_pb2.Envelope:
        spec = task_pb2.TaskSpec(model="m", generate=generate, labels=labels)
        body = spec.SerializeToString()
        made = convert.seal(
            "07-x",
            "t",
            spec,
            body,
            pool="default",
            level=Level.HIGH,
            create_time_ms=5,
            deadline_ms=0,
            max_attempts=3,
            traceparent="",
            cost_label="task",
        )
        return envelope_pb2.Envelope.FromString(made)

    unlimited = sealed(inputs_pb2.GenerateInput(prompt="p" * 900))
    assert 900 <= unlimited.input_size < 950
    assert (unlimited.output_limit, unlimited.kind) == (256, "")
    limited = sealed(inputs_pb2.GenerateInput(prompt="p", max_tokens=50, n=3), task="x" * 80, kind="other")
    assert (limited.output_limit, limited.kind) == (150, "x" * 63)
    assert sealed().output_limit == 0


def test_what_is_parked_has_no_publication_and_suspects_travel_with_their_group() -> None:
    joined = convert.frame(seal("x"), 0) + convert.frame(seal("y"), 2, "suspects-1")
    expected = envelope_pb2.Bundle()
    expected.publications.add(envelope=envelope_pb2.Envelope.FromString(seal("x")))
    expected.publications.add(
        envelope=envelope_pb2.Envelope.FromString(seal("y")), publication=2, isolation="suspects-1"
    )
    assert joined == expected.SerializeToString()


def test_an_earliest_start_is_rounded_up() -> None:
    spec = task_pb2.TaskSpec()
    assert convert.not_before_ms_of(spec) == 0
    spec.not_before.seconds, spec.not_before.nanos = 2, 1_000_000
    assert convert.not_before_ms_of(spec) == 2001
    spec.not_before.nanos = 1_000_001
    assert convert.not_before_ms_of(spec) == 2002


def record(state: TaskState, *, attempt: int = 1, reason: str = "", error: bytes = b"") -> Record:
    history = (HistoryEntry(1, TaskState.QUEUED, ""), HistoryEntry(2, state, reason))
    return Record("07-x", "t", state, attempt, 1, seal("p"), 1, 1, 1, 2, "", error, b"", history, uncharged=1)


@pytest.mark.parametrize(
    ("reason", "attempt", "message"),
    [
        ("", 0, "the deadline passed while it was QUEUED"),
        ("WHILE_SCHEDULED", 0, "the deadline passed while it was SCHEDULED"),
        ("WHILE_BLOCKED", 0, "the deadline passed while it was BLOCKED"),
        ("WHILE_RUNNING", 2, "the deadline passed while it was RUNNING in attempt 2"),
        ("WHILE_RETRYING", 3, "the deadline passed while it was RETRYING after attempt 3"),
        ("ELSE", 0, "the deadline passed while it was QUEUED"),
        ("CANNOT_FINISH", 0, "its turn came, too late to end before its deadline"),
        ("CANNOT_FINISH", 1, "its turn came after attempt 1, too late to end before its deadline"),
    ],
)
def test_an_expired_task_says_where_it_was(reason: str, attempt: int, message: str) -> None:
    task = convert.update_of(record(TaskState.EXPIRED, attempt=attempt, reason=reason), include_result=False)
    assert task.error.message == message
    assert task.error.code == 4


def test_an_error_is_shown_of_ended_tasks_only() -> None:
    error = to_status(ModelFailed("it failed")).SerializeToString()
    for state in TaskState:
        task = convert.update_of(record(state, error=error), include_result=False)
        assert task.HasField("error") == state.terminal


def test_a_task_shows_what_its_record_and_its_envelope_know() -> None:
    sealed = envelope_pb2.Envelope.FromString(seal("p"))
    sealed.replay_of, sealed.schedule = "letter", "nightly"
    known = record(TaskState.RETRYING)._replace(envelope=sealed.SerializeToString())
    task = convert.task_of(known, include_input=False, include_result=False)
    assert (task.uncharged_attempts, task.replay_of, task.schedule) == (1, "letter", "nightly")


def test_parents_of_the_same_call_are_shown_by_id() -> None:
    sealed = envelope_pb2.Envelope.FromString(seal("p"))
    spec = task_pb2.TaskSpec.FromString(sealed.spec)
    spec.depends_on.add(index=4)
    spec.depends_on.add(id="07-c")
    sealed.spec = spec.SerializeToString()
    sealed.parents.extend(["07-b", "07-c"])
    known = record(TaskState.BLOCKED)._replace(envelope=sealed.SerializeToString())
    task = convert.task_of(known, include_input=False, include_result=False)
    assert [dependency.id for dependency in task.spec.depends_on] == ["07-b", "07-c"]


def test_the_deadline_that_a_schedule_gave_is_shown() -> None:
    sealed = envelope_pb2.Envelope.FromString(seal("p"))
    sealed.deadline_ms = 2001
    known = record(TaskState.QUEUED)._replace(envelope=sealed.SerializeToString())
    task = convert.task_of(known, include_input=False, include_result=False)
    assert task.spec.deadline.ToMilliseconds() == 2001


@pytest.mark.parametrize("size", [0, 1, 60, 127, 128, 16_000, 16_384, 300_000])
@pytest.mark.parametrize("publication", [1, 127, 128, 70_000])
def test_frames_joined_together_are_a_bundle(size: int, publication: int) -> None:
    envelopes = [seal("x" * size), seal("y")]
    joined = b"".join(convert.frame(envelope, publication) for envelope in envelopes)
    expected = envelope_pb2.Bundle()
    for envelope in envelopes:
        expected.publications.add(
            envelope=envelope_pb2.Envelope.FromString(envelope), publication=publication
        )
    assert envelope_pb2.Bundle.FromString(joined) == expected
    assert joined == expected.SerializeToString()


def test_a_deadline_is_rounded_down_and_never_to_none() -> None:
    spec = task_pb2.TaskSpec()
    assert convert.deadline_ms_of(spec) == 0
    spec.deadline.seconds, spec.deadline.nanos = 2, 1_999_999
    assert convert.deadline_ms_of(spec) == 2001
    spec.deadline.seconds, spec.deadline.nanos = 0, 1
    assert convert.deadline_ms_of(spec) == 1


def test_a_fingerprint_ignores_the_key_and_nothing_else() -> None:
    fingerprints = Fingerprints(b"secret")
    keyed = task_pb2.TaskSpec.FromString(SPEC.SerializeToString())
    keyed.idempotency_key = "k"
    assert fingerprints.of("t", keyed) == fingerprints.of("t", SPEC)
    other = task_pb2.TaskSpec.FromString(SPEC.SerializeToString())
    other.generate.seed = 1
    assert fingerprints.of("t", other) != fingerprints.of("t", SPEC)
    assert fingerprints.of("u", SPEC) != fingerprints.of("t", SPEC)
    assert Fingerprints(b"else").of("t", SPEC) != fingerprints.of("t", SPEC)


def test_a_fingerprint_does_not_depend_on_the_order_of_labels() -> None:
    one, two = task_pb2.TaskSpec(), task_pb2.TaskSpec()
    for number in range(20):
        one.labels[str(number)] = "x"
        two.labels[str(19 - number)] = "x"
    assert Fingerprints(b"").of("t", one) == Fingerprints(b"").of("t", two)


@pytest.mark.parametrize("token", ["x", "====", "é", "A" * 40])
def test_a_token_that_is_not_ours_is_invalid(token: str) -> None:
    from forebay.tasks.v1 import task_service_pb2
    from services.gateway.page_token import PageTokens

    tokens = PageTokens(Fingerprints(b"s"))
    with pytest.raises(InvalidInput):
        tokens.read("t", task_service_pb2.TaskFilter(), token)


def test_a_token_is_good_for_its_tenant_and_filter_only() -> None:
    from forebay.tasks.v1 import task_service_pb2
    from services.gateway.page_token import PageTokens

    tokens, task_id = PageTokens(Fingerprints(b"s")), "07-01kaj5x3c9f0e8q4v2m7t1b6zd"
    wanted = task_service_pb2.TaskFilter(labels={"a": "b", "c": "d"})
    token = tokens.make("t", wanted, task_id)
    assert tokens.read("t", wanted, token) == task_id
    assert tokens.read("t", wanted, "") == ""
    for tenant, other in (("u", wanted), ("t", task_service_pb2.TaskFilter())):
        with pytest.raises(InvalidInput):
            tokens.read(tenant, other, token)
    for index in range(len(token)):
        flipped = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        with pytest.raises(InvalidInput):
            tokens.read("t", wanted, flipped)
