"""From settings to processes: what runs, with which command and environment, and when it counts as ready.

Pure: reads nothing, starts nothing. The order of the list is the order of starting; its reverse is that of stopping.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from services.api_keys import digest_of
from services.cli.settings import ServerSettings, UpSettings, default_data
from services.cli.up.lock import SECRET_FILE

PYTHON: Final = (sys.executable, "-m")
SECRET_VARIABLE: Final = "FOREBAY_GATEWAY_SECRET"
DAMAGED: Final = re.compile(
    rb"Failed to dispatch |dispatch failed: |panicked at storage[/\\]|(?:invalid|unsupported) entrylog"
    rb"|entrylog (?:position|length|checksum)|IO error: .*: While "
)
"""What the embedded broker says when it cannot go on with its files, of which it says nothing more from then on.

It keeps messages in one file and where each begins in another. A write to the first that broke off, because the disk
was full, moves its end, and what is acknowledged afterwards is not found where it was put. What stands there instead
decides on the complaint: no record, another one, the torn one itself, or, where a header has zeros, a panic. After it
that lane is silent. A write to the second that failed is never tried again: nothing is acknowledged any more, room or
not. That a write to the first failed is not among them: nothing was acknowledged, and the disk may still be full.
"""
NONE: Final[Mapping[str, Path]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class GrpcServing:
    """Ready when the gRPC health service of an address says SERVING."""

    address: str


@dataclass(frozen=True, slots=True)
class GrpcAnswers:
    """Ready when the gRPC health service of an address says anything: the agent serves only when its models do."""

    address: str


@dataclass(frozen=True, slots=True)
class RedisAnswers:
    """Ready when PING is answered."""

    url: str


@dataclass(frozen=True, slots=True)
class BrokerAnswers:
    """Ready when the broker completes the CONNECT of its binary protocol."""

    url: str


Readiness = GrpcServing | GrpcAnswers | RedisAnswers | BrokerAnswers


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process."""

    name: str
    command: tuple[str, ...]
    ready: Readiness
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the environment of `forebay up`."""
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Variables whose values are in files, read when the process starts."""
    after: tuple[str, ...] = ()
    """Names of processes that must be ready before this one starts."""
    start_limit_s: float = 60.0
    """Longest wait until it is ready."""
    grace_s: float = 5.0
    """Longest wait after SIGTERM before SIGKILL."""
    damage: re.Pattern[bytes] | None = None
    """What it writes when it cannot read its files."""
    renews: tuple[str, ...] = ()
    """Names of processes that are started anew when this one has died, before it is started again."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A server that we start ourselves: its command, and its address."""

    command: tuple[str, ...]
    url: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """host:port of the servers of our own processes."""

    grpc: str
    http: str
    scheduler: str
    agent: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that runs, and what a person needs to know to find it."""

    processes: tuple[ProcessSpec, ...]
    addresses: Addresses
    redis_url: str
    broker_url: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The FOREBAY_* settings that all processes share."""

    def with_command(self, name: str, command: tuple[str, ...]) -> "Plan":
        """Return the plan with another command for one process."""
        processes = [replace(spec, command=command) if spec.name == name else spec for spec in self.processes]
        return replace(self, processes=tuple(processes))


def lay_out(
    settings: UpSettings,
    external: ServerSettings,
    addresses: Addresses,
    *,
    variables: Mapping[str, str],
    redis: Embedded | None,
    broker: Embedded | None,
    cache: Embedded | None = None,
    own_key: str = "",
) -> Plan:
    """Lay out every process of the platform on this machine.

    `variables` are the FOREBAY_* settings of file and environment; `redis` and `broker` are the embedded servers,
    None where an external one is used; `cache` is that of the result cache, None where it has
    another or none. `own_key` is the API key that `up` shows the gateway, which gets the digest.
    """
    embedded = []
    if redis:
        embedded.append(ProcessSpec("valkey", redis.command, RedisAnswers(redis.url), grace_s=10.0))
    if broker:
        embedded.append(ProcessSpec("pulsar-lite", broker.command, BrokerAnswers(broker.url), damage=DAMAGED))
    after = tuple(spec.name for spec in embedded)
    if cache:
        # Nobody waits for it: a cache that is away costs answers that are computed.
        embedded.append(ProcessSpec("valkey-cache", cache.command, RedisAnswers(cache.url)))
    redis_url = redis.url if redis else external.redis_url
    broker_url = broker.url if broker else external.broker_url
    shared = {**variables, "FOREBAY_REDIS_URL": redis_url, "FOREBAY_BROKER_URL": broker_url}
    if broker:
        # The embedded broker has no admin API, and sends unacknowledged messages twice under Failover.
        shared |= {"FOREBAY_BROKER_ADMIN_URL": "", "FOREBAY_BROKER_SUBSCRIPTION": "shared"}
    else:
        shared["FOREBAY_BROKER_ADMIN_URL"] = external.broker_admin
    if cache:
        shared["FOREBAY_CACHE_REDIS_URL"] = cache.url
    shared["FOREBAY_TELEMETRY_OTLP_ENDPOINT"] = external.otlp_endpoint
    # A folder called `services` where the user happens to stand must not be taken for ours.
    shared["PYTHONSAFEPATH"] = "1"
    for section in ("GATEWAY", "SCHEDULER", "RUNNER"):
        shared[f"FOREBAY_{section}_GRACE_S"] = f"{settings.grace_s:g}"

    # A secret of the user's own is among the variables.
    secret = {} if variables.get(SECRET_VARIABLE) else {SECRET_VARIABLE: _secret_file(settings)}

    def service(
        name: str, module: str, ready: Readiness, env: Mapping[str, str], secrets: Mapping[str, Path] = NONE
    ) -> ProcessSpec:
        return ProcessSpec(
            name,
            (*PYTHON, module),
            ready,
            env={**shared, **env},
            secrets=secrets,
            after=after,
            # The process itself stops waiting after grace_s, the agent a little later; then it may end by itself.
            grace_s=settings.grace_s + 4.0,
        )

    ours: tuple[ProcessSpec, ...] = (
        service(
            "gateway",
            "services.gateway",
            GrpcServing(addresses.grpc),
            {
                "FOREBAY_GATEWAY_LISTEN": addresses.grpc,
                "FOREBAY_GATEWAY_HTTP_LISTEN": addresses.http,
                "FOREBAY_GATEWAY_STARTER_KEY_SHA256": digest_of(own_key) if own_key else "",
            },
            secret,
        ),
        service(
            "scheduler",
            "scheduler.service",
            GrpcServing(addresses.scheduler),
            {"FOREBAY_SCHEDULER_LISTEN": addresses.scheduler},
        ),
        service("agent", "inference.agent", GrpcAnswers(addresses.agent), _agent(settings, addresses)),
    )
    if broker:
        # It keeps the consumers of a connection that broke while messages came, and refuses those of the next process.
        ours = tuple(
            replace(spec, renews=("pulsar-lite",)) if spec.name == "scheduler" else spec for spec in ours
        )
    return Plan((*embedded, *ours), addresses, redis_url, broker_url, shared)


def _secret_file(settings: UpSettings) -> Path:
    return (settings.data or default_data()).expanduser() / SECRET_FILE


def _agent(settings: UpSettings, addresses: Addresses) -> dict[str, str]:
    env = {"FOREBAY_AGENT_LISTEN": addresses.agent, "FOREBAY_AGENT_GRACE_S": f"{settings.grace_s + 2.0:g}"}
    if settings.models:
        env["FOREBAY_AGENT_MODELS"] = ",".join(settings.models)
    if settings.model_repository:
        env["FOREBAY_AGENT_REPOSITORY"] = str(settings.model_repository.expanduser().resolve())
    if settings.model_control:
        env["FOREBAY_AGENT_MODEL_CONTROL"] = settings.model_control
    return env
