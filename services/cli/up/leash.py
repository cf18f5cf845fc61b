"""Runs a command that dies with its parent, however the parent dies. Standard library only; run by its path.

    python -I -S leash.py PARENT_PID COMMAND [ARGUMENT…]

Linux: the kernel is asked to send SIGKILL when the parent ends (`prctl(PR_SET_PDEATHSIG)`, kept across exec), and this
process becomes the command. Elsewhere there is no such request: this process stays, holds a pipe from the parent as
its stdin, and kills the command when the pipe closes. Either way, files that the command makes are the user's alone.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    """Ask for death with the parent, make sure that it still lives, and become the command. Does not return."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)


def stay(command: list[str]) -> int:
    """Run the command, pass signals on, kill it when stdin ends, and return its exit code."""
    # We are the command's parent now, and what it compares its parent with.
    env = {**os.environ, "FOREBAY_PARENT_PID": str(os.getpid())}
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env)

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)

    def watch() -> None:
        while os.read(0, 1):
            pass
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # Prompts and outputs are in what servers and services write: nobody but the user may read it.
    os.umask(0o077)
    if sys.platform == "linux":
        become(int(sys.argv[1]), sys.argv[2:])
    sys.exit(stay(sys.argv[2:]))
