import json
import logging

import pytest

from scheduler.errors import ModelNotFound, Overloaded, Unauthenticated
from services.gateway.kserve_http.failures import error_body, failure_of
from services.gateway.kserve_http.refusals import TooLarge
from services.relayed import Relayed
from services.status import to_status


def test_errors_of_the_tree_get_the_code_of_the_one_table() -> None:
    assert failure_of(ModelNotFound("m", "default"), "call")[:2] == (404, "NOT_FOUND")
    busy = failure_of(Overloaded("too much", 1.2), "call")
    assert (busy.code, busy.name, busy.headers) == (429, "RESOURCE_EXHAUSTED", {"Retry-After": "2"})
    relayed = failure_of(Relayed(to_status(Overloaded("too much", 0.1))), "call")
    assert (relayed.code, relayed.message, relayed.headers) == (429, "too much", {"Retry-After": "1"})
    stranger = failure_of(Unauthenticated(), "call")
    assert (stranger.code, stranger.headers) == (401, {"WWW-Authenticate": "Bearer"})
    assert failure_of(ExceptionGroup("", [TooLarge("much")]), "call")[:2] == (413, "RESOURCE_EXHAUSTED")


def test_what_nobody_foresaw_is_logged_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        failure = failure_of(ValueError("what a client sent"), "http/ModelInfer")
    assert failure.code == 500
    assert "what a client sent" not in failure.message
    (record,) = caplog.records
    assert record.__dict__["request_id"] in failure.message


def test_any_message_is_json_and_not_long() -> None:
    assert json.loads(error_body("half \ud800 a pair")) == {"error": "half ? a pair"}
    assert len(error_body("x" * 100_000)) < 10_000
