import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from observability import logs, tracing
from tests.fixtures.collector import Collector


class Refused(Exception):
    reason = "REFUSED"


def record(message: str, /, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("services.gateway.admission")
    info = (type(error), error, error.__traceback__) if error is not None else None
    return logger.makeRecord(
        logger.name, logging.WARNING, __file__, 1, message, (), info, func=None, extra=extra or None
    )


def render(message: str, /, error: BaseException | None = None, **extra: object) -> dict[str, Any]:
    line = logs.JsonFormatter("forebay-gateway").format(record(message, error, **extra))
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_record_becomes_one_line_of_json_with_its_event_and_what_it_carries() -> None:
    line = render("lease refused", task_id="07-01k", trace_id="ab", attempt=2)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "service": "forebay-gateway",
        "logger": "services.gateway.admission",
        "event": "lease refused",
        "task_id": "07-01k",
        "trace_id": "ab",
        "attempt": 2,
    }


def test_a_line_inside_a_span_carries_its_trace_id(collector: Collector) -> None:
    flush = tracing.configure("forebay-test", collector.endpoint)
    with tracing.span("work") as work:
        line = render("seen")
    flush()
    assert line["trace_id"] == work.traceparent[3:35]


def test_the_text_of_a_foreign_exception_is_not_written() -> None:
    line = render("model failed", raised(ValueError("canary-7f3a in a prompt")))
    assert "canary-7f3a" not in json.dumps(line)
    assert line["error"]["type"] == "ValueError"
    assert line["error"]["frames"][0].endswith(" raised")


@pytest.mark.parametrize(
    "error", [Refused("tasks[3].model: missing"), OSError(28, "No space left on device")]
)
def test_the_text_of_our_own_and_of_the_systems_errors_is_written(error: Exception) -> None:
    assert render("refused", raised(error))["error"]["text"] == str(error)


def test_each_error_of_a_group_is_described() -> None:
    group = BaseExceptionGroup("many", [raised(Refused("one")), raised(ValueError("canary"))])
    assert [inner["type"] for inner in render("failed", raised(group))["error"]["errors"]] == [
        "Refused",
        "ValueError",
    ]


def test_values_that_json_does_not_know_are_shown_as_text() -> None:
    assert render("odd", value={1})["value"] == "{1}"


def test_the_pretty_form_keeps_control_characters_out_of_the_terminal() -> None:
    line = logs.PrettyFormatter(io.StringIO()).format(record("lease refused", model="x\x1b[2J\ny"))
    assert "\x1b" not in line
    assert "\n" not in line
    assert "lease refused" in line


def test_the_pretty_form_shows_an_error_below_its_line() -> None:
    shown = logs.PrettyFormatter(io.StringIO()).format(record("refused", raised(Refused("why"))))
    assert "Refused: why" in shown.splitlines()[1]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logging.captureWarnings(False)


def test_a_process_logs_json_to_standard_error_from_the_chosen_level_on(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    logs.configure("forebay-agent", level="warning")
    log: Callable[..., None] = logging.getLogger("inference.agent").warning
    logging.getLogger("inference.agent").info("not shown")
    log("shown")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "shown"
    assert json.loads(line)["service"] == "forebay-agent"
