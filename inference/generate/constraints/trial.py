"""The process that compiles every new grammar first: one that takes too long, too much memory or too deep a stack ends
this process and not the runner.

A program of its own, which imports only the library. It writes an empty line when it is ready, then reads one JSON
object a line (`grammar`, `limits`, `cpu_s`) and answers each with one line: `fault`, the library's message or null, and
`held_bytes`, the memory that the compiled grammar takes. It ends with its input. Arguments: memory in bytes that a
trial may take, stack in bytes.
"""

import ctypes
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

NICENESS = 5
"""Generating goes first where processors are short."""
STEPS = 32
"""Tokens of the random answer that is tried: what explodes does so within the first few."""
STEPS_S = 0.1
"""Time after which that is left off."""


def main() -> None:
    """Answer trials until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides when this ends, by closing the input
    memory_bytes, stack_bytes = (int(argument) for argument in sys.argv[1:])
    if used := _memory("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, resource.RLIM_INFINITY))
    os.nice(NICENESS)
    threading.stack_size(stack_bytes)
    thread = threading.Thread(target=_serve)
    thread.start()
    thread.join()


def _serve() -> None:
    # A vocabulary of single bytes: what a grammar costs to compile does not depend on the model's.
    tokenizer = LLTokenizer("byte")
    _say("")
    for line in sys.stdin.buffer:
        order = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, order["cpu_s"])  # its default action ends the process
        answer = _trial(tokenizer, order["grammar"], order["limits"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        _say(json.dumps(answer))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _trial(tokenizer: LLTokenizer, grammar: str, limits: dict[str, Any]) -> dict[str, object]:
    _return_free_memory()
    before = _memory("VmRSS")
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(**limits))
    fault = matcher.get_error() or _walk(matcher, tokenizer.eos_token)
    return {"fault": fault or None, "held_bytes": max(0, _memory("VmRSS") - before)}


def _walk(matcher: LLMatcher, end_token: int) -> str:
    """Take random tokens that the grammar allows. Return the library's message when that failed, else nothing."""
    choice = random.Random(0)
    until = time.monotonic() + STEPS_S
    for step in range(STEPS):
        mask = int.from_bytes(matcher.compute_bitmask(), "little") & ~(1 << end_token)
        if matcher.is_error():
            # A dead end after the first token need not concern every answer; complexity does.
            return matcher.get_error() if step == 0 or "NoExtension" not in matcher.get_error() else ""
        tokens = [token for token in range(mask.bit_length()) if mask >> token & 1]
        if not tokens or time.monotonic() > until:
            return ""
        if not matcher.consume_token(choice.choice(tokens)):
            return matcher.get_error()
    return ""


def _memory(name: str) -> int:
    """Return a figure of this process in bytes; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(name + ":")), 0
    )


def _return_free_memory() -> None:
    """Have the allocator give back what it keeps, so that growth is what the grammar takes."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


if __name__ == "__main__":
    main()
