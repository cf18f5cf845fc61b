"""One `forebay up` per data folder, which is the user's alone: prompts and outputs are kept in it."""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scheduler.errors import StartupRefused

SECRET_FILE: Final = "secret"
"""Keys the gateway's fingerprints and page tokens: 32 random bytes as hexadecimal digits, made once."""
_PRIVATE: Final = 0o077
"""The umask under which nobody else may do anything."""


@contextmanager
def hold(data: Path) -> Iterator[None]:
    """Hold the data folder, which is made when it is not there, until the block ends or the process dies.

    The lock is the kernel's (`flock`): nothing stale can stay behind. The file keeps the holder's process id for
    the sentence that a second one prints. While it is held, files that this process makes are the user's alone.

    Raises StartupRefused when another process holds the folder, or when it cannot be written.
    """
    umask = os.umask(_PRIVATE)
    try:
        with _held(data):
            yield
    finally:
        os.umask(umask)


@contextmanager
def _held(data: Path) -> Iterator[None]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        _make_private(data)
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
        _keep_secret(data)
        yield
    finally:
        os.close(descriptor)


def _make_private(data: Path) -> None:
    """Close a folder of the user's to all others. One that is shared on purpose, such as /tmp, stays as it is."""
    found = data.stat()
    if found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX and found.st_mode & _PRIVATE:
        data.chmod(0o700)


def _keep_secret(data: Path) -> None:
    """Make the secret unless it is there. Raises StartupRefused when it is not the user's, or cannot be written."""
    file = data / SECRET_FILE
    try:
        if file.is_file() and file.stat().st_size:
            if file.stat().st_uid != os.geteuid():
                raise StartupRefused(f"{file} belongs to another user; choose another folder with --data")
            file.chmod(0o600)
            return
        fresh = data / f"{SECRET_FILE}.new"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(32))
            opened.flush()
            os.fsync(descriptor)
        fresh.replace(file)
    except OSError as error:
        raise StartupRefused(f"{file} cannot be written ({error.strerror})") from error
