"""Puts the gateway's use cases together over its ports. Called by `app.py`, which owns what lives with the process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from observability.metrics import GatewayMetrics
from scheduler.ports.clock import Clock, StoreTime
from scheduler.ports.dead_letters import DeadLetterStore
from scheduler.ports.events import EventFeed
from scheduler.ports.follow_ups import FollowUpStore
from scheduler.ports.keys import KeyStore
from scheduler.ports.lines import LineStore
from scheduler.ports.log import LogPublisher
from scheduler.ports.membership import Membership
from scheduler.ports.pauses import PauseStore
from scheduler.ports.policies import PolicyStore
from scheduler.ports.records import AdmissionStore, QueryStore
from scheduler.ports.schedules import ScheduleStore
from scheduler.ports.wanted_models import WantedModels
from services.connections import QueueSettings
from services.gateway.accepting import AcceptOnce
from services.gateway.cache_service import CacheServicer, CacheUseCases, cache_service
from services.gateway.caller import CallerOf
from services.gateway.cancel import CancelTasks
from services.gateway.dead_letters import DeadLetters
from services.gateway.direct import Calls, DirectCalls
from services.gateway.drafting import Drafter
from services.gateway.event_hub import EventHub
from services.gateway.explaining import ExplainTask
from services.gateway.fingerprint import Fingerprints
from services.gateway.inference_service import InferenceServicer, inference_service
from services.gateway.kserve import KServeServicer, kserve_service
from services.gateway.kserve_http import kserve_http
from services.gateway.lanes import LaneChooser
from services.gateway.limits import InFlight
from services.gateway.linking import Linking
from services.gateway.listing import ListTasks
from services.gateway.model_service import ModelServicer, model_service
from services.gateway.page_token import PageTokens
from services.gateway.policy_service import Policies
from services.gateway.publisher import BundlePublisher
from services.gateway.queue_service import QueueServicer, queue_service
from services.gateway.quotas import Quotas
from services.gateway.recording import Recorder
from services.gateway.repetition import Repetitions
from services.gateway.replay import ReplayTasks
from services.gateway.repository_control import RepositoryControl
from services.gateway.republishing import Republish
from services.gateway.running_schedules import RunSchedule
from services.gateway.schedule_service import ScheduleServicer, schedule_service
from services.gateway.schedules import Schedules
from services.gateway.settings import GatewaySettings
from services.gateway.stream_output import StreamOutput
from services.gateway.submit import Submit
from services.gateway.task_looks import TaskCache
from services.gateway.task_service import TaskServicer, TaskUseCases, task_service
from services.gateway.tickets import TicketMarker
from services.gateway.update import UpdateTasks
from services.gateway.watch import Watch
from services.lifecycle import Service
from services.policy_following import PolicyFollower


@dataclass(frozen=True, slots=True)
class Ports:
    """What a gateway works with. It owns none of them."""

    admissions: AdmissionStore
    queries: QueryStore
    follow_ups: FollowUpStore
    dead_letters: DeadLetterStore
    schedules: ScheduleStore
    pauses: PauseStore
    policies: PolicyStore
    wanted_models: WantedModels
    lines: LineStore
    keys: KeyStore
    events: EventFeed
    membership: Membership
    log: LogPublisher
    time: StoreTime
    clock: Clock


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs beside the calls."""

    publisher: BundlePublisher
    marker: TicketMarker
    hub: EventHub
    limits: InFlight
    metrics: GatewayMetrics
    quotas: Quotas
    drafter: Drafter
    lanes: LaneChooser
    policy: PolicyFollower
    caller_of: CallerOf
    direct: DirectCalls
    calls: Calls
    """The direct way with the result cache in front of it."""
    tasks: TaskCache
    """What the cache knows of tasks that are submitted."""
    cache: CacheUseCases | None = None
    """What operators do with the result cache; None where there is none."""


END_THEMSELVES: Final = frozenset(
    {
        *(f"forebay.inference.v1.InferenceService/{name}" for name in ("Infer", "Embed")),
        *(f"forebay.models.v1.ModelService/{name}" for name in ("LoadModel", "UnloadModel")),
        "forebay.cache.v1.CacheService/WarmCache",
        *(
            f"inference.GRPCInferenceService/{name}"
            for name in ("ModelInfer", "RepositoryModelLoad", "RepositoryModelUnload")
        ),
    }
)
"""Methods for which the default deadline would be too short: calls of models, also those that warm
the cache, end by `gateway.direct_timeout_s`, loading
and unloading by `repository_control.WITHIN_S`, whichever door they come by.
"""


@dataclass(frozen=True, slots=True)
class Doors:
    """Everything that the gateway serves."""

    grpc: Sequence[Service]
    http: Sequence[Callable[[web.Application], None]]
    """Each adds what it serves to an application; the gateway's own pages are not among it."""


def doors(settings: GatewaySettings, queues: QueueSettings, ports: Ports, parts: Parts) -> Doors:
    """Put the doors together."""
    repository = RepositoryControl(
        ports.membership, ports.wanted_models, ports.clock, parts.direct.fleet.look
    )
    kserve = KServeServicer(parts.calls, parts.caller_of, repository)
    http = kserve_http(
        parts.calls,
        kserve,
        parts.caller_of,
        parts.metrics.call,
        max_bytes=settings.max_direct_bytes,
        deadline_s=settings.default_deadline_s,
    )
    waiting = [
        model_service(ModelServicer(ports.membership, repository)),
        inference_service(InferenceServicer(parts.calls, parts.caller_of, queues.pools)),
        kserve_service(kserve),
        cache_service(CacheServicer(parts.cache, parts.caller_of)),
    ]
    return Doors(grpc=[*task_services(settings, queues, ports, parts), *waiting], http=[http])


def task_services(
    settings: GatewaySettings, queues: QueueSettings, ports: Ports, parts: Parts
) -> list[Service]:
    """Return what there is for durable tasks."""
    fingerprints = Fingerprints(settings.secret.encode())
    caller_of = parts.caller_of
    lanes = parts.lanes
    republish = Republish(parts.publisher, lanes, parts.marker.arrived)
    submit = _submit(queues, ports, parts, fingerprints, lanes, republish)
    accept = AcceptOnce(submit, ports.queries)
    letters = DeadLetters(ports.dead_letters, ports.queries, PageTokens(fingerprints, "dead letters"))
    tasks = TaskUseCases(
        submit=submit,
        store=ports.queries,
        listing=ListTasks(ports.queries, PageTokens(fingerprints)),
        watch=Watch(parts.hub),
        stream_output=StreamOutput(parts.hub, ports.queries),
        cancel=CancelTasks(ports.queries, parts.metrics.finished, ports.clock),
        update=UpdateTasks(ports.queries, republish, parts.quotas),
        explain=ExplainTask(
            ports.queries,
            ports.lines,
            ports.pauses,
            ports.membership,
            ports.time,
            lambda: parts.policy.policy,
        ),
        dead_letters=letters,
        replay=ReplayTasks(letters, accept, queues.pools, ports.clock),
    )
    schedules = Schedules(
        ports.schedules, PageTokens(fingerprints, "schedules"), fingerprints, ports.time, queues.pools
    )
    run_schedule = RunSchedule(schedules, accept, ports.time)
    return [
        task_service(TaskServicer(tasks, caller_of)),
        schedule_service(ScheduleServicer(schedules, run_schedule, caller_of)),
        queue_service(
            QueueServicer(
                ports.lines,
                ports.membership,
                ports.pauses,
                Policies(ports.policies, parts.policy),
                caller_of,
                queues.lanes,
            )
        ),
    ]


def _submit(
    queues: QueueSettings,
    ports: Ports,
    parts: Parts,
    fingerprints: Fingerprints,
    lanes: LaneChooser,
    republish: Republish,
) -> Submit:
    drafter = parts.drafter
    linking = Linking(ports.follow_ups, republish)
    return Submit(
        Recorder(ports.admissions, ports.queries, drafter),
        parts.publisher,
        parts.marker.arrived,
        ports.admissions.hasten,
        drafter=drafter,
        lanes=lanes,
        linking=linking,
        repetitions=Repetitions(ports.queries, republish, linking),
        limits=parts.limits,
        quotas=parts.quotas,
        cache=parts.tasks,
        clock=ports.clock,
        observer=parts.metrics,
    )
