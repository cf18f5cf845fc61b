import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from scheduler import errors
from scheduler.errors import FieldFault, ForebayError
from services import status
from services.relayed import Relayed

EXAMPLES: list[ForebayError] = [
    errors.InvalidInput([FieldFault("a.b", "is wrong"), FieldFault("", "all is wrong")]),
    errors.NotFound("x", "there is no x"),
    errors.TaskNotFound("07-x"),
    errors.ModelNotFound("m@2", "default"),
    errors.Unsupported("clients share no memory with runners"),
    errors.AnswerNotCached("m"),
    errors.DeadLetterNotFound("07-x"),
    errors.ScheduleNotFound("nightly"),
    errors.PauseNotFound("model m"),
    errors.KeyConflict("07-x", ["generate.max_tokens"]),
    errors.ScheduleExists("nightly"),
    errors.TaskNotWaiting("07-x", "RUNNING"),
    errors.NotReplayable("07-x"),
    errors.TaskMoved("07-x"),
    errors.PolicyMoved(3, 4),
    errors.OutputGone(3, 9),
    errors.CacheOff(),
    errors.SequenceUnknown(),
    errors.Overloaded("too much", 0.5),
    errors.QuotaExceeded([errors.QuotaViolation("tenant t", "at most 5 tasks may wait")], 0.5),
    errors.Unauthenticated(),
    errors.OperatorOnly("PauseQueue"),
    errors.ServerUnavailable("away"),
    errors.LogUnavailable("away", 2.0),
    errors.RecordsUnavailable("away"),
    errors.PurgeNotShared(),
    errors.ModelNotReady("loading"),
    errors.RunnerGone("gone"),
    errors.ShuttingDown("going"),
    errors.TaskFailure("failed"),
    errors.ModelFailed("failed"),
    errors.ModelOutOfMemory("too much"),
    errors.RunnerLost("lost"),
    errors.RunnerCrashed("crashed"),
    errors.RunnerOutOfMemory("too much"),
    errors.TaskCancelled("cancelled"),
    errors.DeadlinePassed("late"),
    errors.ParentFailed("failed"),
    errors.ParentOutputUnusable("unusable"),
    errors.EnvelopeDamaged("damaged"),
    errors.MessageUnreadable("unreadable"),
    errors.ModelUnusable("broken"),
    errors.RuntimeMissing("none"),
    errors.ImportRefused("refused"),
    errors.StartupRefused("refused"),
]


def tree(root: type[ForebayError]) -> set[type[ForebayError]]:
    return {root}.union(
        *(tree(child) for child in root.__subclasses__() if child.__module__ == errors.__name__)
    )


def test_every_error_of_the_tree_has_a_row_of_its_own() -> None:
    assert set(status.TABLE) == tree(ForebayError)
    assert {type(example) for example in EXAMPLES} == tree(ForebayError) - {ForebayError}


def test_reasons_are_stable_words_and_none_is_used_twice() -> None:
    reasons = [error.reason for error in status.TABLE]
    assert len(set(reasons)) == len(reasons)
    assert all(reason == reason.upper() and " " not in reason for reason in reasons)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_status_has_its_reason_first_and_an_http_code(error: ForebayError) -> None:
    made = status.to_status(error)
    info = error_details_pb2.ErrorInfo()
    assert made.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("forebay", error.reason)
    assert made.code == status.grpc_code(error) != code_pb2.OK
    assert made.message == str(error)
    assert 400 <= status.http_code(error) <= 599


def test_faults_of_fields_are_a_bad_request() -> None:
    detail = error_details_pb2.BadRequest()
    assert status.to_status(EXAMPLES[0]).details[1].Unpack(detail)
    assert [(v.field, v.description) for v in detail.field_violations] == [
        ("a.b", "is wrong"),
        ("", "all is wrong"),
    ]


@pytest.mark.parametrize(
    "error", [e for e in EXAMPLES if hasattr(e, "retry_after_s")], ids=lambda e: e.reason
)
def test_what_can_succeed_later_says_when_to_try_again(error: ForebayError) -> None:
    detail = error_details_pb2.RetryInfo()
    assert status.to_status(error).details[1].Unpack(detail)
    assert detail.retry_delay.ToNanoseconds() == int(error.retry_after_s * 1e9)  # type: ignore[attr-defined]


def test_an_error_that_is_new_is_treated_as_its_parent() -> None:
    class Novel(errors.LogUnavailable):
        reason = "NOVEL"

    assert status.grpc_code(Novel("x")) == code_pb2.UNAVAILABLE


def test_an_internal_status_says_nothing_but_its_request_id() -> None:
    made = status.internal("abc")
    request = error_details_pb2.RequestInfo()
    assert made.details[1].Unpack(request)
    assert request.request_id == "abc"
    assert "abc" in made.message


def test_a_quota_names_whose_limit_it_is_and_what_it_allows() -> None:
    violation = errors.QuotaViolation("tenant t, level low", "at most 5 tasks may wait")
    detail = error_details_pb2.QuotaFailure()
    assert status.to_status(errors.QuotaExceeded([violation], 0.5)).details[2].Unpack(detail)
    assert [(v.subject, v.description) for v in detail.violations] == [
        ("tenant t, level low", "at most 5 tasks may wait")
    ]


def test_what_another_process_answered_travels_as_it_said_it() -> None:
    told = status.to_status(errors.OutputGone(3, 9))
    error = Relayed(told)
    assert status.to_status(error) == told
    assert (status.grpc_code(error), status.http_code(error)) == (code_pb2.OUT_OF_RANGE, 410)
    assert str(error) == told.message


def test_what_another_process_answered_without_a_reason_or_a_proper_code_gets_one() -> None:
    info = error_details_pb2.ErrorInfo()
    bare = status.to_status(Relayed(status_pb2.Status(code=99, message="x")))
    assert bare.code == code_pb2.UNKNOWN
    assert bare.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("forebay", "INTERNAL")
    assert status.http_code(Relayed(status_pb2.Status(code=0, message="x"))) == 500
