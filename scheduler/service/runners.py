"""The runners attached to this scheduler: who they are, what credit they have together, and who holds what."""

from collections import Counter
from collections.abc import Iterable, Iterator

from forebay.dispatch.v1.dispatch_service_pb2 import Settled
from scheduler.service.entry import Waiting
from scheduler.service.runner_stream import RunnerStream, Running, room

__all__ = ["Roster", "RunnerStream", "Running", "room"]


class Roster:
    """All attached runners."""

    def __init__(self) -> None:
        self._streams: set[RunnerStream] = set()

    def __iter__(self) -> Iterator[RunnerStream]:
        return iter(self._streams)

    def add(self, stream: RunnerStream) -> None:
        """Let a runner take part."""
        self._streams.add(stream)

    def remove(self, stream: RunnerStream) -> list[Running]:
        """Forget a runner; returns what it held."""
        stream.attached = False
        self._streams.discard(stream)
        return [running for task_id in list(stream.holds) if (running := stream.release(task_id))]

    def credits(self, pool: str, now_s: float) -> dict[str, int]:
        """Sum up free credit for tasks of any level, by model; a runner with several names counts under each."""
        credits: dict[str, int] = {}
        for stream in self._streams:
            if stream.pool == pool and stream.takes and (free := room(stream, stream.unreserved, now_s)) > 0:
                for name in stream.names:
                    credits[name] = credits.get(name, 0) + free
        return credits

    def reserves(self, pool: str, now_s: float) -> dict[str, int]:
        """Sum up free credit that is kept for CRITICAL tasks, as `credits` does."""
        reserves: dict[str, int] = {}
        for stream in self._streams:
            if stream.reserve and stream.pool == pool and stream.takes:
                free = max(0, room(stream, stream.unreserved, now_s))
                kept = room(stream, stream.credits, now_s) - free
                if kept > 0:
                    for name in stream.names:
                        reserves[name] = reserves.get(name, 0) + kept
        return reserves

    def served(self, pool: str) -> set[str]:
        """Return the models that attached runners of a pool run, whether they have credit or not."""
        return {name for stream in self._streams if stream.pool == pool for name in stream.names}

    def of_model(self, pool: str, model: str) -> list[RunnerStream]:
        """Return the attached runners of a model, sorted by id."""
        found = [stream for stream in self._streams if stream.pool == pool and model in stream.names]
        return sorted(found, key=lambda stream: stream.id)

    def outcome(self, stream: RunnerStream, outcomes: Iterable[bool], now_s: float) -> bool:
        """Take in how attempts of a runner ended, True for a failure that may be its own fault; returns whether it was
        taken out, or is back.
        """
        changed = False
        others: tuple[int, int] | None = None
        for failed in outcomes:
            if others is None:
                others = self._others(stream)
            changed |= stream.breaker.outcome(failed, now_s, others)
        return changed

    def holders(self, ids: Iterable[str]) -> dict[RunnerStream, list[str]]:
        """Find who holds which of these tasks."""
        found: dict[RunnerStream, list[str]] = {}
        for task_id in ids:
            for stream in self._streams:
                if task_id in stream.holds:
                    found.setdefault(stream, []).append(task_id)
        return found

    def call_back(self, ids: Iterable[str]) -> None:
        """Note what was cancelled while its lease is on its way."""
        for stream in self._streams:
            if stream.leasing:
                stream.called_back |= stream.leasing.intersection(ids)

    def settled(
        self, speaker: RunnerStream, settled: Iterable[Settled]
    ) -> dict[RunnerStream, list[tuple[Waiting, Settled]]]:
        """Take from runners what `speaker` has settled, and return it by who held it: mostly the speaker, and another
        one when it was assigned over a stream that is gone. What nobody holds under that attempt is left out.
        """
        holds = speaker.holds
        reports: dict[RunnerStream, list[tuple[Waiting, Settled]]] = {}
        for item in settled:
            task_id, attempt = item.id, item.attempt
            running = holds.get(task_id)
            holder = speaker
            if running is None or running.attempt != attempt:
                found = self._find(task_id, attempt)
                if found is None:
                    continue
                holder, running = found
            holder.release(task_id)
            reports.setdefault(holder, []).append((running.task, item))
        return reports

    def lost(self, ids: Iterable[str]) -> list[Running]:
        """Take from runners what they lost the leases of, and return it; they get nothing more until they speak."""
        taken: list[Running] = []
        for task_id in ids:
            for stream in self._streams:
                running = stream.release(task_id)
                if running is not None:
                    stream.silent = True
                    taken.append(running)
        return taken

    def running(self) -> int:
        """Count the tasks that attached runners hold."""
        return sum(len(stream.holds) for stream in self._streams)

    def _find(self, task_id: str, attempt: int) -> tuple[RunnerStream, Running] | None:
        """Find the hold of one attempt at any runner."""
        for stream in self._streams:
            running = stream.holds.get(task_id)
            if running is not None and running.attempt == attempt:
                return stream, running
        return None

    def _others(self, stream: RunnerStream) -> tuple[int, int]:
        """Sum up failures and outcomes of a model's other runners."""
        counts: Counter[str] = Counter()
        for other in self._streams:
            if other is not stream and other.model == stream.model and other.pool == stream.pool:
                failures, seen = other.breaker.failures
                counts["failures"] += failures
                counts["seen"] += seen
        return counts["failures"], counts["seen"]
