"""How bad the network of one world is, and what happens to its processes: drawn from the seed."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities are of one call, message or event; times in seconds."""

    slow: float = 0.0
    """A message that takes up to `slowest_s`."""
    slowest_s: float = 0.3
    lost_request: float = 0.0
    lost_reply: float = 0.0
    """The server did it; the caller hears of a time-out."""
    late_request: float = 0.0
    """The caller hears of a time-out, and then the server does it."""
    lost_event: float = 0.0
    duplicate: float = 0.0
    """A message of the log that is delivered twice."""
    reorder: float = 0.0
    """A message of the log that overtakes others."""
    deaths: int = 0
    """Kills in the middle of a call: before it, after it was sent, or after it was done."""
    kills: int = 0
    """Kills at random moments."""
    stops: int = 0
    """Orderly ends, as SIGTERM makes them."""
    freezes: int = 0
    cuts: int = 0
    """Times for which one process cannot reach one server."""
    outages: int = 0
    """Times for which nobody can reach one server."""
    jumps: int = 0
    """Jumps of one process's wall clock."""
    resets: int = 0
    """Connections between runners and schedulers that break."""

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong but what the calm worlds are made to measure."""
        return self == CALM


CALM = Weather()


def draw_weather(rng: Random) -> Weather:
    """Draw one: a part of the worlds is calm, most have a few kinds of trouble, some have all."""
    if rng.random() < 0.12:
        return CALM
    storm = rng.random() < 0.2

    def rate(most: float) -> float:
        return most * rng.random() ** 2 if storm or rng.random() < 0.45 else 0.0

    def times(most: int) -> int:
        return rng.randint(1, most) if storm or rng.random() < 0.35 else 0

    return Weather(
        slow=rate(0.5),
        slowest_s=rng.choice((0.05, 0.3, 1.0)),
        lost_request=rate(0.2),
        lost_reply=rate(0.2),
        late_request=rate(0.1),
        lost_event=rate(0.3),
        duplicate=rate(0.5),
        reorder=rate(0.5),
        deaths=times(4),
        kills=times(4),
        stops=times(3),
        freezes=times(3),
        cuts=times(4),
        outages=times(2),
        jumps=times(3),
        resets=times(3),
    )
