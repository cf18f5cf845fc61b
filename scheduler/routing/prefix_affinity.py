"""The runner that has the longest beginning of the prompt in its cache, unless it has far more to do than another one.

Which beginnings a runner has is not asked but remembered: they are those of the prompts that were sent to it lately
(the approach of cache-aware routing in Zheng et al., "SGLang: Efficient Execution of Structured Language Model
Programs", NeurIPS 2024). A wrong guess costs the reading of a prompt, nothing else.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from scheduler.routing.choice import Candidate, Errand
from scheduler.routing.least_outstanding import LeastOutstanding

MOST_BLOCKS: Final = 8192
"""Beginnings that are remembered of one runner."""
MOST_RUNNERS: Final = 256
SLACK_SLOTS: Final = 1.0
"""How many times its slots a runner may hold more than the least loaded one, before the load decides."""


class PrefixAffinity:
    """Remembers the beginnings of prompts by runner, the latest ones."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, OrderedDict[int, None]] = OrderedDict()
        self._otherwise = LeastOutstanding()

    def choose(self, candidates: Sequence[Candidate], errand: Errand) -> int:
        """Return the place of the runner with the longest known beginning; the least loaded one where none is known."""
        place = self._otherwise.choose(candidates, errand)
        if errand.prefixes:
            least = candidates[place].held
            longest = 0
            for one, candidate in enumerate(candidates):
                if candidate.held - least > SLACK_SLOTS * max(1, candidate.slots):
                    continue
                length = self._length(candidate.id, errand.prefixes)
                if length > longest:
                    place, longest = one, length
            self._remember(candidates[place].id, errand.prefixes)
        return place

    def _length(self, runner: str, prefixes: Sequence[int]) -> int:
        known = self._known.get(runner)
        if not known:
            return 0
        # Chained: who has a longer beginning has the shorter ones, or had them until lately.
        return next((length for length in range(len(prefixes), 0, -1) if prefixes[length - 1] in known), 0)

    def _remember(self, runner: str, prefixes: Sequence[int]) -> None:
        known = self._known.setdefault(runner, OrderedDict())
        self._known.move_to_end(runner)
        for prefix in prefixes:
            known[prefix] = None
            known.move_to_end(prefix)
        while len(known) > MOST_BLOCKS:
            known.popitem(last=False)
        if len(self._known) > MOST_RUNNERS:
            self._known.popitem(last=False)
