"""Section `cache`, as far as a scheduler needs it: all of it is in services/cache_settings.py."""

from dataclasses import dataclass

from services.cache_settings import SharedCacheSettings


@dataclass(frozen=True, slots=True)
class TaskCacheSettings(SharedCacheSettings):
    """What a scheduler keeps of answers. Raises ValueError for what cannot be meant."""

    def __post_init__(self) -> None:
        if faults := self.faults_of([self.redis]):
            raise ValueError("; ".join(faults))
