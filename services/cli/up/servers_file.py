"""Where a running `forebay up` notes how its servers are reached, for commands that repair and copy: `servers.json`.

It is in the data folder, which is the user's alone: addresses of external servers may carry passwords.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scheduler.errors import StartupRefused

FILE: Final = "servers.json"
_PREFIXES: Final = ("FOREBAY_REDIS_", "FOREBAY_BROKER_", "FOREBAY_QUEUES_", "FOREBAY_RETENTION_")
"""Settings without which nobody finds anything."""


@contextmanager
def noted(data: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Keep the note for as long as the block lasts. The lock on the folder says whether it is of a living process."""
    file = data / FILE
    kept = {name: value for name, value in variables.items() if name.startswith(_PREFIXES)}
    fresh = data / f"{FILE}.new"
    fresh.write_text(json.dumps(kept), "utf-8")
    fresh.chmod(0o600)
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def read(data: Path) -> dict[str, str]:
    """Return the FOREBAY_* variables of the `forebay up` that runs on a data folder.

    Raises StartupRefused when none does.
    """
    try:
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        raise _not_up(data) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        raise _not_up(data)
    finally:
        os.close(descriptor)
    try:
        found = json.loads((data / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        raise StartupRefused(f"forebay up on {data} is still starting; try again when it is ready") from None
    return {str(name): str(value) for name, value in found.items()}


def _not_up(data: Path) -> StartupRefused:
    return StartupRefused(
        f"forebay is not up on {data}: start it with `forebay up`, or name the servers with --redis and --broker"
    )
