"""From the flags of `forebay submit` to task specs."""

import json
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from services.cli.exits import cause

if TYPE_CHECKING:
    from forebay.tasks.v1.task_pb2 import TaskSpec

_UNITS: Final[Mapping[str, str]] = {
    "ms": "milliseconds",
    "s": "seconds",
    "m": "minutes",
    "h": "hours",
    "d": "days",
}
_REFERENCE: Final = re.compile(r"([^=]+)=(\d+):(.+)")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")


def duration(ctx: click.Context, param: click.Parameter, given: str | None) -> timedelta | None:
    """Read a duration such as 500ms, 30s, 5m, 2h or 1d; a bare number counts seconds. Raises BadParameter."""
    if given is None:
        return None
    found = _DURATION.fullmatch(given.strip())
    if found is None:
        raise click.BadParameter(f"{given!r} is no duration such as 500ms, 30s, 5m or 2h")
    return timedelta(**{_UNITS[found[2] or "s"]: float(found[1])})


def moment(ctx: click.Context, param: click.Parameter, given: str | None) -> datetime | None:
    """Read a time in ISO 8601; one without a zone is local time. Raises BadParameter."""
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given).astimezone()
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is no time such as 2030-01-31T09:00:00Z") from error


def references(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, tuple[int, str]]:
    """Read NAME=N:OUTPUT as where an input comes from. Raises BadParameter."""
    found = {}
    for one in given:
        parts = _REFERENCE.fullmatch(one)
        if parts is None:
            raise click.BadParameter(f"{one!r} is not NAME=N:OUTPUT, for example story=0:text")
        found[parts[1]] = int(parts[2]), parts[3]
    return found


def specs_from_file(file: Path, model: str, options: Mapping[str, Any]) -> list["TaskSpec"]:
    """Read tasks from a file ("-": stdin): a TaskSpec in proto3 JSON, a list of them, or one a line.

    Flags fill in or override what the file says. Raises BadParameter.
    """
    from google.protobuf.json_format import ParseDict, ParseError

    from forebay.tasks.v1.task_pb2 import TaskSpec

    specs = []
    for number, document in enumerate(_documents(file), 1):
        try:
            spec = ParseDict(document, TaskSpec())
        except ParseError as error:
            # It goes on with the names of all fields, in Python's words.
            what = str(error).partition("\n")[0]
            raise click.BadParameter(f"task {number} of {file} is no TaskSpec: {what}") from error
        spec.MergeFrom(_from_flags(model or spec.model, spec, options))
        if not spec.model:
            raise click.BadParameter(f"task {number} of {file} names no model, and --model is not given")
        specs.append(spec)
    return specs


def _from_flags(model: str, spec: "TaskSpec", options: Mapping[str, Any]) -> "TaskSpec":
    """Build a task of the same kind from flags alone, so that a flag means the same here as elsewhere."""
    from forebay.client.specs import task_spec

    try:
        if spec.HasField("generate"):
            flags = task_spec(model, prompt="", **options)
            flags.generate.ClearField("prompt")
        elif spec.HasField("embed"):
            flags = task_spec(model, texts=(), **options)
            flags.ClearField("embed")
        else:
            flags = task_spec(model, tensors={}, **options)
            flags.ClearField("tensors")
    except (TypeError, ValueError) as error:
        raise click.BadParameter(str(error)) from error
    if "priority" not in options:
        flags.ClearField("priority")
    return flags


def tensors_from(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Load NAME=FILE.npy. Raises BadParameter for what is no array of plain numbers, texts or bytes."""
    import numpy as np

    arrays = {}
    for name, file in pairs.items():
        try:
            # Pickled arrays would run code of whoever made the file.
            arrays[name] = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise click.BadParameter(
                f"tensor {name}: {file} cannot be read as .npy: {cause(error)}"
            ) from error
    return arrays


def text_or_stdin(text: str) -> str:
    """Return the text; for "-" what stdin brings."""
    return sys.stdin.read() if text == "-" else text


def _documents(file: Path) -> list[dict[str, Any]]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file} cannot be read: {cause(error)}") from error
    try:
        whole = json.loads(text)
    except ValueError:
        whole = _lines(file, text)
    found = whole if isinstance(whole, list) else [whole]
    if not found or not all(isinstance(one, dict) for one in found):
        raise click.BadParameter(
            f"{file} must hold a task, a list of tasks, or one task a line, as JSON objects"
        )
    return found


def _lines(file: Path, text: str) -> list[Any]:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise click.BadParameter(f"{file} is neither JSON nor JSON lines: {error}") from error
