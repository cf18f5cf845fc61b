import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import numpy as np
import pytest

from forebay.tasks.v1.task_pb2 import Priority
from services.cli.commands.submit import _input
from services.cli.request import duration, moment, references, specs_from_file, tensors_from

CONTEXT = click.Context(click.Command("submit"))
OPTION = click.Option(["--deadline-in"])

TASK = {
    "model": "m",
    "generate": {"prompt": "Hello", "maxTokens": 5},
    "priority": "PRIORITY_HIGH",
    "labels": {"a": "1"},
}


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("500ms", 0.5), ("1.5m", 90), ("2h", 7200), ("1d", 86400)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert duration(CONTEXT, OPTION, text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1w", "1s2"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        duration(CONTEXT, OPTION, text)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TASK),
        json.dumps([TASK]),
        json.dumps(TASK) + "\n\n" + json.dumps(TASK),
        json.dumps(TASK, indent=1),
    ],
)
def test_tasks_are_read_from_a_file_in_every_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    for spec in specs_from_file(tmp_path / "t.json", "", {}):
        assert spec.model == "m"
        assert spec.generate.max_tokens == 5
        assert spec.priority == Priority.PRIORITY_HIGH


def test_flags_override_the_file_and_leave_the_rest(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(TASK))
    (spec,) = specs_from_file(
        tmp_path / "t.json", "other", {"priority": "low", "labels": {"b": "2"}, "top_k": 7}
    )
    assert (spec.model, spec.priority) == ("other", Priority.PRIORITY_LOW)
    assert dict(spec.labels) == {"a": "1", "b": "2"}
    assert (spec.generate.prompt, spec.generate.max_tokens, spec.generate.top_k) == ("Hello", 5, 7)


@pytest.mark.parametrize("text", ["", "[]", "3", '[{"no": "field"}]', "{", '{"generate": {"prompt": "x"}}'])
def test_a_file_that_holds_no_tasks_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(click.BadParameter) as refused:
        specs_from_file(tmp_path / "t.json", "", {})
    assert "\n" not in refused.value.message


def test_tensors_are_loaded_but_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    np.save(tmp_path / "evil.npy", np.array([{"code": 1}], object), allow_pickle=True)
    assert tensors_from({"x": str(tmp_path / "x.npy")})["x"].tolist() == [0, 1, 2]
    for bad in ("evil.npy", "missing.npy"):
        with pytest.raises(click.BadParameter, match="cannot be read"):
            tensors_from({"x": str(tmp_path / bad)})


def test_a_time_is_read_with_its_zone() -> None:
    assert moment(CONTEXT, OPTION, "2030-01-31T09:00:00Z") == datetime(2030, 1, 31, 9, tzinfo=UTC)
    read = moment(CONTEXT, OPTION, "2030-01-31T09:00:00")
    assert read is not None and read.tzinfo is not None
    with pytest.raises(click.BadParameter, match="is no time such as"):
        moment(CONTEXT, OPTION, "tomorrow")


def test_an_input_names_the_parent_and_its_output() -> None:
    assert references(CONTEXT, OPTION, ("story=0:text", "x=1:y:0")) == {"story": (0, "text"), "x": (1, "y:0")}
    for bad in ("story", "story=text", "=0:text", "story=0:"):
        with pytest.raises(click.BadParameter, match="is not NAME=N:OUTPUT"):
            references(CONTEXT, OPTION, (bad,))


def test_flags_fill_in_what_a_file_says_of_an_embedding(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text('{"embed": {"texts": ["a"]}}')
    (spec,) = specs_from_file(file, "minilm", {"priority": "high"})
    assert (spec.model, list(spec.embed.texts), spec.priority) == ("minilm", ["a"], 2)


def test_texts_become_the_input_of_an_embedding() -> None:
    assert _input(None, False, "", {}, ("a", "b")) == {"texts": ["a", "b"]}
