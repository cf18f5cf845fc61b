"""One `forebay up` per data folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scheduler.errors import StartupRefused


@contextmanager
def hold(data: Path) -> Iterator[None]:
    """Hold the data folder, which is made when it is not there, until the block ends or the process dies.

    The lock is the kernel's (`flock`): nothing stale can stay behind. The file keeps the holder's process id for
    the sentence that a second one prints.

    Raises StartupRefused when another process holds the folder, or when it cannot be written.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupRefused(
            f"the data folder {data} cannot be used ({error.strerror}); choose another with --data"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder else "another process"
            raise StartupRefused(
                f"forebay is already up on {data} ({who}); stop it first, or choose another folder with --data"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
