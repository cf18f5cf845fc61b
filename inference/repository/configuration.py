"""A `config.pbtxt` as it stands in its file: the message, what in it is not known, and where each field is."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf import text_format

from forebay.compat.kserve import model_config_pb2 as pb
from inference.repository.data_files import Unreadable, read_regular
from inference.repository.outline import FieldPath, Malformed, Outline, outline_of
from scheduler.errors import ModelUnusable

CONFIG_FILE: Final = "config.pbtxt"
MAX_BYTES: Final = 1 << 20

Report = Callable[[str], None]
"""Hears of what has no effect, in one sentence each."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says, checked for its form only."""

    file: Path
    message: pb.ModelConfig
    outline: Outline = field(default_factory=Outline)

    def at(self, path: FieldPath) -> str:
        """Return where a field stands: file:line:column."""
        return f"{self.file}:{self.outline.place(path)}"

    def fault(self, path: FieldPath, what: str) -> ModelUnusable:
        """Return the error for a field, with the file and the place where it stands."""
        return ModelUnusable(f"{self.at(path)}: {what}")


def read_configuration(file: Path, report: Report) -> Configuration:
    """Read a configuration; `report` hears of every field that is not known.

    Raises ModelUnusable with file, line and column: too large, not Protobuf text, or values that no field of the
    message takes.
    """
    text = _text_of(file)
    message = pb.ModelConfig()
    try:
        outline = outline_of(text, pb.ModelConfig.DESCRIPTOR)
        text_format.Parse(text, message, allow_unknown_field=True)
    except Malformed as error:
        raise ModelUnusable(f"{file}:{error.place}: {error}")
    except text_format.ParseError as error:
        what = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise ModelUnusable(f"{file}:{error.GetLine() or 1}:{error.GetColumn() or 1}: {what}")
    for unknown in outline.unknown:
        report(f"{file}:{unknown.place}: {unknown.name} is not supported and has no effect")
    return Configuration(file, message, outline)


def _text_of(file: Path) -> str:
    try:
        data = read_regular(file, MAX_BYTES, hard_links=True)
    except Unreadable as error:
        raise ModelUnusable(f"{file} cannot be read: {error}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise ModelUnusable(f"{file}:{line}:{column}: not UTF-8")
