"""A tier behind a breaker: asked while it answers, left alone for a while when it does not."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cache.faults import Faults
from cache.ports import Away, Tier, TierAway, TierFault
from cache.tiers.breaker import Admission, Breaker

T = TypeVar("T")
Usable = Callable[[], bool]
"""Whether a tier may be used now."""


class Guarded:
    """One tier and its breaker."""

    def __init__(self, tier: Tier, breaker: Breaker, usable: Usable, faults: Faults) -> None:
        self.tier = tier
        self._faults = faults
        self._breaker = breaker
        self._usable = usable

    @property
    def away(self) -> bool:
        """Whether the tier is left alone at present."""
        return self._breaker.open or not self._usable()

    async def call(self, now_ms: int, ask: Callable[[Tier], Awaitable[T]]) -> T:
        """Return what the tier answers. Raises TierAway when it does not, is left alone or not usable; TierFault when
        it has a fault of its own, which is counted.
        """
        if not self._usable():
            raise TierAway(f"the tier {self.tier.name} is not to be used yet")
        admission = self._breaker.ask(now_ms)
        if admission is Admission.NO:
            raise TierAway(f"the tier {self.tier.name} is left alone for a while")
        try:
            answer = await ask(self.tier)
        except TierFault as fault:
            self._fault(fault, admission)
            raise
        except Away as error:
            self._breaker.failed(admission, now_ms)
            raise TierAway(str(error)) from error
        except Exception as fault:
            self._fault(fault, admission)
            raise TierFault(f"the tier {self.tier.name} has a fault ({type(fault).__name__})") from fault
        except BaseException:
            self._breaker.given_up(admission)
            raise
        self._breaker.succeeded(admission)
        return answer

    def _fault(self, fault: Exception, admission: Admission) -> None:
        # Perhaps of this one entry or namespace: the tier is not left alone for it.
        self._faults.note(f"tier {self.tier.name}", fault)
        self._breaker.given_up(admission)
