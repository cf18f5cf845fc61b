"""What the supervisor knows of one process that it keeps running."""

import asyncio
import signal
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from services.cli.up.logs import ChildLog
from services.cli.up.plan import ProcessSpec

DEATHS_ALLOWED: Final = 3
"""This many deaths of one child within a while end everything."""


@dataclass(slots=True)
class Child:
    """A process and what is known of it."""

    spec: ProcessSpec
    log: ChildLog
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    once_ready: bool = False
    """Whether it was ever ready."""
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_ALLOWED))
    verdict: str = ""
    """Why we killed it ourselves, when we did."""
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether it shall run; not while it is halted."""
    halted: bool = False
    """Whether the present process was ended on purpose, to be started again later: that is no death."""

    def last_words(self) -> str:
        """Tell why it died: our verdict, or how it ended and the last loud thing that it wrote."""
        if self.verdict:
            return self.verdict
        code = self.process.returncode if self.process else None
        if code is not None and code < 0:
            how = f"by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"by signal {-code}"
        else:
            how = f"exit code {code}"
        return f"{how}: {self.log.last_error}" if self.log.last_error else how
