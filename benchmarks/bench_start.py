"""From `git clone` to the first streamed token: what a newcomer waits for, phase by phase.

Clones this repository into a temporary folder and does there what `make demo` does: `make setup`, then `forebay demo`,
which brings the model into an empty folder. Packages come from the caches of uv and pip where they are kept; what is
not there is fetched, as for anybody. Everything is removed afterwards. Uncommitted changes are not in a clone.
"""

import argparse
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import machine

BAR_S = 180.0
LIMIT_S = 600.0
HERE = Path(__file__).resolve().parent.parent

MODEL_LINE = re.compile(r"^model +(wrote |SmolLM2\S* is in )")
READY_LINE = re.compile(r"^forebay +forebay is ready")
TOKEN_LINE = re.compile(r"to the first streamed token: ([0-9.]+) s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repository", default=str(HERE), help="what is cloned: a path or an address")
    parser.add_argument("--verbose", action="store_true", help="show what make and the demo print")
    options = parser.parse_args()
    machine.print_header("from git clone to the first streamed token")
    with tempfile.TemporaryDirectory(prefix="forebay-start-") as name:
        clone = Path(name) / "forebay"
        phases = {
            "clone": _took_s(
                ["git", "clone", "--quiet", options.repository, str(clone)], Path(name), options.verbose
            ),
            "environment": _took_s(["make", "setup"], clone, options.verbose),
            **demo_phases(clone, Path(name) / "models", options.verbose),
        }
    for phase, seconds in phases.items():
        print(f"{phase:24s} {seconds:7.1f} s")
    print(f"{'all':24s} {sum(phases.values()):7.1f} s  (bar {BAR_S:.0f} s)")


def demo_phases(clone: Path, models: Path, verbose: bool) -> dict[str, float]:
    """Run the demo until it has streamed its first answer; return the seconds of its phases."""
    command = [".venv/bin/forebay", "demo", "--cache", str(models)]
    began_s = model_s = ready_s = time.monotonic()
    with _running(command, clone) as process:
        for line in _lines(process, verbose):
            if MODEL_LINE.match(line):
                model_s = time.monotonic()
            elif READY_LINE.match(line):
                ready_s = time.monotonic()
            elif found := TOKEN_LINE.search(line):
                # By the demo's own clock, which starts with its process: this line comes after the whole answer.
                token_s = float(found[1])
                break
        else:
            raise SystemExit("the demo ended without a streamed token")
    return {
        "model": model_s - began_s,
        "start": ready_s - model_s,
        "first token": token_s - (ready_s - began_s),
    }


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command with its output on a pipe; the end of the block interrupts it, as Ctrl-C does."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _lines(process: subprocess.Popen[str], verbose: bool) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        if verbose:
            print("    " + line.rstrip())
        yield line


def _took_s(command: list[str], folder: Path, verbose: bool) -> float:
    began_s = time.monotonic()
    output = None if verbose else subprocess.PIPE
    done = subprocess.run(
        command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout or ''}")
    return time.monotonic() - began_s


if __name__ == "__main__":
    main()
