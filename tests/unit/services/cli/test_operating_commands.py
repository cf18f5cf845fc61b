"""What operating commands refuse before they ask a server, and how they read their options."""

from datetime import timedelta

import pytest
from click.testing import CliRunner

from forebay.client import PauseInfo, Priority
from forebay.tasks.v1.task_pb2 import PRIORITY_HIGH
from services.cli.__main__ import cli
from services.cli.commands.dlq import _edits, _hex
from services.cli.commands.submit import _options
from services.cli.exits import CommandFailed
from services.cli.session import paused_what
from tests.unit.sdk.test_operating import NOON

ID = "07-01kaj5x3c9f0e8q4v2m7t1b6zd"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("update", "07-x"), "say what to change"),
        (("update", "07-x", "--deadline-in", "5m", "--no-deadline"), "exclude each other"),
        (("update", "07-x", "--start-in", "5m", "--start-at", "2030-01-01T00:00:00Z"), "exclude each other"),
        (("pause",), "say what: --pool, --priority, --model or --label"),
        (("resume", "--label", "x"), "is not K=V"),
        (("dlq", "replay"), "say which: ids, filters such as --model M, or --all"),
        (("dlq", "purge", "07-x", "--all"), "say which"),
        (("dlq", "replay", "07-x", "--set", "model"), "is not FIELD=JSON"),
        (("dlq", "replay", "07-x", "--set", "nothing=1"), "--set"),
        (("schedules", "create", "a", "--task", "-"), "give either --cron or --every"),
        (("submit", "--model", "m", "--prompt", "x", "--input-from", "x"), "is not NAME=N:OUTPUT"),
        (
            ("submit", "--model", "m", "--prompt", "x", "--start-in", "0s", "--start-at", "2030-01-01"),
            "exclude each other",
        ),
        (("submit", "--model", "m"), "exactly one of --prompt, --tensor, --text and --json"),
        (("recover", "--data", "d", "--redis", "redis://h"), "exclude each other"),
        (("recover", "--redis", "redis://h:6379/0"), "--broker is missing"),
        (("recover", "--broker", "pulsar://h:6650"), "--redis is missing"),
        (("backup", "f", "--data", "d", "--redis", "redis://h"), "exclude each other"),
        (("restore", __file__, "--data", "d", "--redis", "redis://h"), "exclude each other"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...], sentence: str) -> None:
    result = CliRunner().invoke(cli, ["--address", "127.0.0.1:1", *arguments])
    assert result.exit_code == 2, result.output
    assert sentence in result.output


def test_edits_are_fields_of_a_spec_and_bare_words_are_texts() -> None:
    spec, mask = _edits(("model=other", 'retry={"max_attempts": 5}'))
    assert (spec.model, spec.retry.max_attempts, mask) == ("other", 5, ["model", "retry"])
    assert _edits(()) == (None, [])
    assert _edits(("priority=high",))[0].priority == PRIORITY_HIGH


def test_a_number_that_is_zero_was_said() -> None:
    nothing = {"deadline_in": None, "start_in": None, "start_at": None, "stop": (), "ignore_eos": False}
    assert _options({**nothing, "seed": 0, "start_in": timedelta(0)}) == {
        "seed": 0,
        "not_before": timedelta(0),
    }
    assert _options(dict(nothing)) == {}


@pytest.mark.parametrize("option", ["--start-in", "--deadline-in"])
def test_now_is_a_time_to_change_a_task_to(option: str) -> None:
    with pytest.raises(CommandFailed, match="no server at"):
        CliRunner().invoke(
            cli, ["--address", "127.0.0.1:1", "update", ID, option, "0s"], catch_exceptions=False
        )


def test_bytes_are_shown_in_lines_of_sixteen() -> None:
    first, second = _hex(b"forebay " * 2 + b"\x00\xff").splitlines()
    assert first.startswith("000000  66 6f 72 65") and first.endswith("forebay forebay ")
    assert second.startswith("000010  00 ff") and second.endswith("..")


def test_a_pause_is_said_in_words() -> None:
    pause = PauseInfo("p", Priority.LOW, "", ("team", "a"), "full", NOON)
    assert paused_what(pause) == "pool p, level low, label team=a (full)"
