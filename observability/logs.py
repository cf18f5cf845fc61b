"""Logs: one JSON object a line on standard error, or coloured lines when a person watches.

    log = logging.getLogger(__name__)
    log.warning("lease refused", extra={"task_id": task_id, "trace_id": trace_id, "attempt": 2})

The message is the name of the event and never changes; what changes goes into `extra`. Never a prompt, an
output or a secret. Of an exception only what is safe is written: its type, where it was raised, and its
text only when its class has a `reason` of ours or it comes from the operating system.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final, TextIO

from observability import tracing
from observability.propagation import trace_id_of

_STANDARD: Final = frozenset(
    [*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"]
)
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_FRAMES: Final = 20
_QUIET: Final = ("asyncio", "aiohttp", "grpc", "urllib3")


def configure(service: str, *, pretty: bool | None = None, level: str = "INFO") -> None:
    """Send all logging of this process to standard error.

    `pretty` None means: when standard error is a terminal. Libraries are heard from WARNING on.
    """
    chosen = sys.stderr.isatty() if pretty is None else pretty
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrettyFormatter(sys.stderr) if chosen else JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


class JsonFormatter(logging.Formatter):
    """Renders a record as one line of JSON: time, level, service, logger, event and what it carries."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
            **_carried(record),
        }
        return json.dumps(fields, ensure_ascii=False, default=str, separators=(",", ":"))


class PrettyFormatter(logging.Formatter):
    """Renders a record for a person: `12:30:01.123 WARNING lease refused  task_id=…`."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._colour = stream.isatty()

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines, without their end."""
        level = f"{record.levelname:<8}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        carried = _carried(record)
        error = carried.pop("error", None)
        rest = "".join(f" {key}={_plain(value)}" for key, value in carried.items())
        line = f"{_time(record)[11:23]} {level} {_plain(record.getMessage())} {rest}".rstrip()
        if isinstance(error, dict):
            line += f"\n    {error['type']}: {error.get('text', '')}"
            line += "".join(f"\n      {frame}" for frame in error["frames"])
        return line


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _carried(record: logging.LogRecord) -> dict[str, object]:
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if "trace_id" not in fields and (traceparent := tracing.current()):
        fields["trace_id"] = trace_id_of(traceparent)
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = _describe(record.exc_info[1])
    return fields


def _describe(error: BaseException) -> dict[str, object]:
    described: dict[str, object] = {"type": type(error).__name__}
    if isinstance(error, OSError) or isinstance(getattr(type(error), "reason", None), str):
        described["text"] = str(error)
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    described["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    if isinstance(error, BaseExceptionGroup):
        described["errors"] = [_describe(inner) for inner in error.exceptions[:_FRAMES]]
    if error.__cause__ is not None:
        described["cause"] = _describe(error.__cause__)
    return described


def _plain(value: object) -> str:
    # A name that a client chose may hold line ends and terminal control codes.
    text = str(value)
    return text if text.isprintable() else repr(text)
