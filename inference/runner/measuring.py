"""What each execution costs: how long it takes, and its part of the engine's time.

A step's time is divided among the requests that got something from it, for each answer one part; what the reading of a
prompt took is its own. What the engine does for nobody in particular goes with the rest.
"""

from collections.abc import Iterable, Sequence

from inference.engine import Chunk, Engine, ReportsGeneration, Update
from inference.runner.job import Job


class Measuring:
    """Charges what is inside one engine. The engine's thread owns it, and what it writes into the tasks."""

    def __init__(self) -> None:
        self._tasks: dict[str, Job] = {}
        self._reports: ReportsGeneration | None = None

    def watch(self, engine: Engine) -> None:
        """Ask an engine that knows what prompts took."""
        self._reports = engine if isinstance(engine, ReportsGeneration) else None

    def enter(self, task: Job, now_s: float) -> None:
        """Begin to measure a task that the engine takes in."""
        task.admitted_s = now_s
        self._tasks[task.key] = task

    def leave(self, keys: Iterable[str]) -> None:
        """Forget what was cancelled."""
        for key in keys:
            self._tasks.pop(key, None)

    def stepped(self, updates: Sequence[Update], step_s: float, now_s: float) -> None:
        """Divide the time of a step; what has ended by it is measured completely then."""
        tasks = self._tasks
        if self._reports is not None:
            pieces = self._reports.times.pieces
            for key, piece_s in pieces:
                step_s -= piece_s
                if (task := tasks.get(key)) is not None:
                    task.work_s += piece_s
            if not updates:
                self._divide_among([key for key, _ in pieces], step_s)
        if not updates:
            return
        part_s = step_s / len(updates)
        for update in updates:
            if type(update) is Chunk:
                if (task := tasks.get(update.key)) is not None:
                    task.work_s += part_s
            elif (task := tasks.pop(update.key, None)) is not None:
                task.work_s += part_s
                task.execute_s = now_s - task.admitted_s

    def _divide_among(self, keys: Sequence[str], step_s: float) -> None:
        for key in keys:
            if (task := self._tasks.get(key)) is not None:
                task.work_s += step_s / len(keys)
