"""Everything that a scheduler needs from outside, in one piece."""

from dataclasses import dataclass

from scheduler.ports.answers import AnswerStore
from scheduler.ports.clock import Clock, StoreTime
from scheduler.ports.dead_letters import DeadLetterStore
from scheduler.ports.events import EventFeed
from scheduler.ports.follow_ups import FollowUpStore
from scheduler.ports.log import LogConsumer, LogPublisher
from scheduler.ports.membership import Membership
from scheduler.ports.pauses import PauseStore, ShelfStore
from scheduler.ports.policies import PolicyStore
from scheduler.ports.records import AdmissionStore, LeaseStore, QueryStore
from scheduler.ports.schedules import ScheduleStore
from scheduler.ports.sweeps import SweepStore
from scheduler.ports.walk import WalkStore


@dataclass(frozen=True, slots=True)
class Ports:
    """The scheduler's ports. Whoever makes them closes what is behind them."""

    consumer: LogConsumer
    publisher: LogPublisher
    admissions: AdmissionStore
    leases: LeaseStore
    answers: AnswerStore
    queries: QueryStore
    sweeps: SweepStore
    follow_ups: FollowUpStore
    dead_letters: DeadLetterStore
    schedules: ScheduleStore
    pauses: PauseStore
    policies: PolicyStore
    shelves: ShelfStore
    walk: WalkStore
    events: EventFeed
    membership: Membership
    time: StoreTime
    clock: Clock
