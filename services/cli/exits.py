"""Exit codes, the one way a command ends, and output that survives a reader who leaves early."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn


class Exit(IntEnum):
    """What a finished command tells the shell."""

    DONE = 0
    FAILED = 1
    """The task or the command failed."""
    USAGE = 2
    """The command line cannot be understood. Click's own code for it."""
    UNREACHABLE = 3
    """The server does not answer."""
    INTERRUPTED = 130
    """Ctrl-C, by the custom of shells: 128 and the signal's number."""


class CommandFailed(Exception):
    """Ends the command with one sentence on stderr. The message is for a person."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        self.code = code
        super().__init__(message)


def code_of(error: BaseException) -> Exit | None:
    """Tell which exit code an error stands for; None for one that is a bug and deserves its traceback."""
    if isinstance(error, CommandFailed):
        return error.code
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if _is(error, "ForebayClientError"):
        # With a reason it was a server that answered; without one, nobody did.
        silent = not getattr(error, "reason", "") and (
            _is(error, "Unavailable") or _is(error, "DeadlineExceeded")
        )
        return Exit.UNREACHABLE if silent else Exit.FAILED
    return Exit.FAILED if _is(error, "ForebayError") else None


def sentence_of(error: BaseException) -> str:
    """Say an error in one line. A group speaks with the voice of its first leaf."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(_text_of(error).split())
    return text or type(error).__name__


def cause(error: Exception) -> str:
    """Say why something could not be done, without the number that an OSError carries."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _text_of(error: BaseException) -> str:
    """Take from an error of the client what a person can use who sees no request and no list of results."""
    if _is(error, "SubmitManyError"):
        results = getattr(error, "results", ())
        refused = [result for result in results if isinstance(result, BaseException)]
        if len(results) == 1 or not refused:
            return _text_of(refused[0]) if refused else str(error)
        were = "were" if len(refused) > 1 else "was"
        first = f"{'the first: ' if len(refused) > 1 else ''}{_text_of(refused[0])}"
        return f"{len(refused)} of {len(results)} tasks {were} not accepted; {first}"
    if _is(error, "TaskFailedError"):
        why = getattr(error, "cause", None)
        return ended_without_result(getattr(error, "task_id", ""), str(getattr(error, "state", "")), why)
    return str(error)


def ended_without_result(task_id: str, state: str, why: BaseException | None) -> str:
    """Say that a task ended without a result, and why."""
    verb = "was cancelled" if state == "cancelled" else state
    return f"task {task_id} {verb}: {why}" if why and str(why) else f"task {task_id} {verb}"


@contextmanager
def ending() -> Iterator[None]:
    """Turn what escapes a command into one sentence and its exit code.

    Raises SystemExit for every known error; lets bugs pass with their traceback.
    """
    try:
        yield
    except BrokenPipeError:
        leave_quietly()
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        leaf: BaseException = error
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        if isinstance(leaf, BrokenPipeError):
            leave_quietly()
        code = code_of(leaf)
        if code is None:
            raise
        if code is not Exit.INTERRUPTED:
            sys.stderr.write(f"forebay: {sentence_of(leaf)}\n")
        raise SystemExit(int(code)) from None


def leave_quietly() -> NoReturn:
    """End as a process that SIGPIPE ended would, as `forebay ls | head -1` expects: no traceback, code 141.

    Stdout is pointed at the null device first, so that the interpreter's last flush cannot complain.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(128 + signal.SIGPIPE)


def _is(error: BaseException, name: str) -> bool:
    """Match by class name along the MRO, so that no command pays for imports that it does not need."""
    return any(cls.__name__ == name for cls in type(error).__mro__)
