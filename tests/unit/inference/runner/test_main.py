"""What the exit code of a runner process says."""

import subprocess
import sys

import pytest

from inference.presence import EXIT_HUNG, EXIT_MODEL_UNUSABLE, EXIT_OUT_OF_MEMORY, EXIT_STUCK

PROGRAM = """
import contextlib, os, sys, threading
os.environ |= {"FOREBAY_RUNNER_MODEL": "m", "FOREBAY_RUNNER_PATH": "m"}
from inference.runner import __main__ as program
from inference.runner.stuck import EngineHung, EngineStuck

class Runner:
    async def run(self, stop):
        threading.Thread(target=threading.Event().wait, daemon=False).start() if HANGS else None
        raise_or = OUTCOME
        if isinstance(raise_or, Exception):
            raise ExceptionGroup("", [ExceptionGroup("", [raise_or])])
        return raise_or

@contextlib.asynccontextmanager
async def build(settings):
    yield Runner()

program.build = build
sys.exit(program.main())
"""


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("True", 0),
        ("False", EXIT_MODEL_UNUSABLE),
        ("EngineStuck('stuck')", EXIT_STUCK),
        ("EngineHung('hung', ['a'])", EXIT_HUNG),
        ("MemoryError()", EXIT_OUT_OF_MEMORY),
        ("RuntimeError('bug')", 1),
    ],
)
def test_the_exit_code_tells_how_it_ended(outcome: str, code: int) -> None:
    # A thread that never ends keeps no stuck runner alive.
    program = PROGRAM.replace("OUTCOME", outcome).replace("HANGS", str(outcome.startswith("Engine")))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=15)
    assert done.returncode == code, done.stderr.decode()
