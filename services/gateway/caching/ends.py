"""How calls end: what flights raise becomes an error of the tree, and every end is told."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from google.rpc import status_pb2

from cache.flights import Abandoned, FlightFailed, OnItsOwn
from scheduler.errors import DeadlinePassed, ForebayError, RunnerGone, ShuttingDown
from scheduler.ports.clock import Clock
from services.gateway.caching.computing import Computation
from services.gateway.caching.journey import Journey
from services.gateway.caching.landed import Landed
from services.gateway.direct import DirectCall
from services.gateway.direct.outcomes import code_name
from services.relayed import Relayed

_SOON_S: Final = 0.5
"""When to try again what another process or another runner took from under a call."""


@contextmanager
def told(journey: Journey, own: Computation) -> Iterator[None]:
    """Tell of a call's end, whatever it is, and let what a flight raises be an error of the tree. One that must ask
    once more is not at its end; it is given what it has left of its time.
    """
    code = "CANCELLED"
    try:
        yield
        code = "OK"
    except FlightFailed as failed:
        failure = Relayed(status_pb2.Status.FromString(failed.status))
        code = code_name(failure)
        raise failure from failed
    except Abandoned as abandoned:
        stopping = ShuttingDown("the computation that this call waited for was given up", _SOON_S)
        code = code_name(stopping)
        raise stopping from abandoned
    except OnItsOwn:
        code = ""
        own.wanted.timeout_ms = max(1, int(own.left_s * 1000))
        raise
    except ForebayError as error:
        code = code_name(error)
        raise
    except Exception:
        # A fault of ours; who went is told apart by what is no Exception.
        code = "INTERNAL"
        raise
    finally:
        journey.leader = own.leader
        if code:
            journey.end(code, executed=own.begun)


def mark_cached(wanted: DirectCall, landed: Landed) -> None:
    """Write into a call that nothing was computed for it."""
    wanted.served_version = landed.stored.version
    wanted.cached, wanted.sampled = True, landed.stored.sampled


def pauses(own: Computation, clock: Clock, closing: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    """Return how a replay pauses, in seconds: not beyond its client's deadline, and not any more once nothing more is
    taken.
    """

    async def pause(seconds: float) -> None:
        if not closing.is_set():
            left_s = max(0.0, own.left_s)
            await clock.sleep(min(seconds, left_s))
            if seconds >= left_s:
                raise too_late()

    return pause


def too_late() -> DeadlinePassed:
    """Return the error of who could not wait any longer."""
    return DeadlinePassed("the call was not answered within the time that its client waits")


def went_another_way() -> RunnerGone:
    """Return the error of who was given chunks that are void: a stream cannot take them back."""
    return RunnerGone("the generation began anew, and went another way", _SOON_S)
