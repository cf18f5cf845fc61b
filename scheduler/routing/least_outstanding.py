"""The runner that is expected to be done first with what it holds and the new task.

Joining the shortest queue, counted in expected work and not in tasks (Winston, "Optimality of the Shortest Line
Discipline", Journal of Applied Probability, 1977, for equal servers). A slow runner shows a longer outstanding time for
the same tasks, so it gets what it can do and no more.
"""

from collections.abc import Sequence

from scheduler.routing.choice import Candidate, Errand


class LeastOutstanding:
    """Remembers nothing. Ties go to the runner that holds fewer tasks, then to the one with more free credit."""

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the runner with the least expected work for each of its slots."""
        best = 0
        best_rank = _rank(candidates[0])
        for place in range(1, len(candidates)):
            rank = _rank(candidates[place])
            if rank < best_rank:
                best, best_rank = place, rank
        return best


def _rank(candidate: Candidate) -> tuple[float, float, int]:
    slots = max(1, candidate.slots)
    return candidate.outstanding_ms, candidate.held / slots, -candidate.free
