"""The scheduler's own shapes of the window's generic ones: a waiting task with its envelope and open bundle."""

from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.service.settlement import OpenBundle
from scheduler.window import WaitingTask, Window

Waiting = WaitingTask[Envelope, OpenBundle]
PoolWindow = Window[Envelope, OpenBundle]
