"""The scheduler's own shapes of the window's generic ones: a waiting task with its envelope and open bundle."""

from dataclasses import dataclass

from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.ports.log import Delivery
from scheduler.window import WaitingTask, Window


@dataclass(slots=True, eq=False)
class OpenBundle:
    """A delivered bundle and how many of its tasks still need it."""

    delivery: Delivery
    open: int


Waiting = WaitingTask[Envelope, OpenBundle]
PoolWindow = Window[Envelope, OpenBundle]
