"""The whole platform on this machine, as one block: prepared, started, watched, and taken down.

`forebay up` waits inside the block, `forebay demo` works in it.
"""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inference.providers import installed_runtime
from inference.repository.listing import list_models
from scheduler.errors import StartupRefused
from services.api_keys import new_key
from services.cli.settings import EXPLICIT, ServerSettings, UpSettings, default_data
from services.cli.up import lock, ports, servers_file
from services.cli.up.cache_tiers import (
    DISK_FOLDER,
    REDIS_URL,
    SERVER,
    cache_settings,
    embedded_cache,
    with_disk,
)
from services.cli.up.fleet import Fleet
from services.cli.up.log_keeper import BROKER, LogKeeper
from services.cli.up.plan import Addresses, Embedded, Plan, lay_out
from services.cli.up.signals import obeyed
from services.cli.up.supervisor import Say, Supervisor
from services.embedded import pulsar_lite, valkey
from services.embedded.log_folders import LogFolders

LEAST_DISK_BYTES: Final = 256 * 1024 * 1024
"""Below this much free space nothing is started: logs of record store and broker would break off."""


@dataclass(frozen=True, slots=True)
class Running:
    """A platform whose processes answer and whose models are ready or failed."""

    plan: Plan
    data: Path
    supervisor: Supervisor
    fleet: Fleet
    key: str = field(repr=False)
    """The API key of this `up`, for as long as it runs; it operates."""


@asynccontextmanager
async def platform(
    settings: UpSettings, external: ServerSettings, variables: Mapping[str, str], say: Say
) -> AsyncIterator[Running]:
    """Run everything for as long as the block lasts. Signals end it: the first drains, the second kills.

    Raises StartupRefused when it cannot start or a process would not stay alive, Stopped when a person asked for
    the end before it was ready, Killed when it had to end at once. Whatever happened, nothing runs any more
    afterwards.
    """
    data = (settings.data or default_data()).expanduser().resolve()
    async with AsyncExitStack() as stack:
        stack.enter_context(lock.hold(data))
        key = new_key()
        plan = prepare(settings, external, variables, data, key)
        introduce(plan, settings, data, say)
        keeper = None if external.broker_url else log_keeper(plan, settings, external, data, say)
        if keeper:
            plan = plan.with_command(BROKER, await keeper.choose(plan.variables))
        supervisor = Supervisor(plan.processes, data / "logs", say)
        stack.enter_context(obeyed(supervisor, say))
        if keeper:
            stack.callback(close_log, keeper, supervisor)
        await stack.enter_async_context(supervisor.running())
        await supervisor.started()
        stack.enter_context(servers_file.noted(data, plan.variables))
        if keeper:
            supervisor.alongside(keeper.watch(supervisor, plan.variables))
        fleet = Fleet(plan.addresses.grpc, model_names(settings, variables), say, key)
        await supervisor.unless_ending(fleet.settled())
        yield Running(plan, data, supervisor, fleet, key)


def prepare(
    settings: UpSettings, external: ServerSettings, variables: Mapping[str, str], data: Path, own_key: str
) -> Plan:
    """Check models and machine, choose internal ports, and lay out the processes.

    Raises StartupRefused, and RuntimeMissing when there are models but nothing to run them.
    """
    check_models(settings)
    free = shutil.disk_usage(data).free
    if free < LEAST_DISK_BYTES:
        raise StartupRefused(
            f"only {free >> 20} MiB are free under {data}; make room, or choose another --data"
        )
    host = settings.host
    ports.refuse_taken(host, [(settings.grpc_port, "--grpc-port"), (settings.http_port, "--http-port")])
    scheduler, agent, broker_port = ports.pick("127.0.0.1", 3)
    kept = cache_settings(variables)
    kept.check(external.redis_url)
    cache = embedded_cache(kept, variables, data)
    variables = with_disk(kept, variables, data)
    redis = broker = None
    if not external.redis_url:
        (data / "valkey").mkdir(exist_ok=True)
        socket = data / "valkey.sock"
        redis = Embedded(tuple(valkey.command(data / "valkey", socket)), valkey.address(socket))
    if not external.broker_url:
        # Raises for Linux on aarch64, for which there is no embedded broker, and says that --broker is needed.
        command = pulsar_lite.command(data / "pulsar-lite", broker_port)
        broker = Embedded(tuple(command), pulsar_lite.url(broker_port))
    addresses = Addresses(
        grpc=f"{host}:{settings.grpc_port}",
        http=f"{host}:{settings.http_port}",
        scheduler=f"127.0.0.1:{scheduler}",
        agent=f"127.0.0.1:{agent}",
    )
    return lay_out(
        *(settings, external, addresses),
        variables=variables,
        redis=redis,
        broker=broker,
        cache=cache,
        own_key=own_key,
    )


def log_keeper(plan: Plan, settings: UpSettings, external: ServerSettings, data: Path, say: Say) -> LogKeeper:
    """Return what looks after the embedded broker's folder. Raises StartupRefused."""
    port = int(plan.broker_url.rpartition(":")[2])
    # Nobody knows what an external store has: it counts as having records.
    records = bool(external.redis_url) or any((data / "valkey").rglob("*.aof"))
    return LogKeeper(
        LogFolders(data / "pulsar-lite", records=records),
        lambda folder: pulsar_lite.command(folder, port),
        plan.broker_url,
        limit_bytes=settings.log_limit_mb << 20,
        say=say,
    )


def close_log(keeper: LogKeeper, supervisor: Supervisor) -> None:
    """Note that the log was closed in order, when it was."""
    if not supervisor.killed and supervisor.failure is None:
        keeper.closed()


def check_models(settings: UpSettings) -> None:
    """See that what is to be served is there. Whether it can be loaded is a runner's to find out.

    Raises StartupRefused for paths that do not exist, RuntimeMissing without ONNX Runtime.
    """
    faults = [
        f"model {name}: {path} does not exist"
        for name, _, path in (model.partition("=") for model in settings.models)
        if not Path(path).exists()
    ]
    repository = settings.model_repository
    if repository and not repository.expanduser().is_dir():
        faults.append(f"the model repository {repository} is not a folder")
    if faults:
        raise StartupRefused("; ".join(faults))
    if settings.models or repository:
        installed_runtime()


def introduce(plan: Plan, settings: UpSettings, data: Path, say: Say) -> None:
    """Tell a person what is where, before anything starts."""
    names = [spec.name for spec in plan.processes]
    say("data", str(data))
    say("logs", f"{data / 'logs'}{'/'}*.log")
    say("records", plan.redis_url + ("" if "valkey" in names else " (external)"))
    say("log", plan.broker_url + ("" if "pulsar-lite" in names else " (external)"))
    if cache_settings(plan.variables).enabled:
        redis = "embedded" if SERVER in names else "external" if plan.variables.get(REDIS_URL) else "none"
        say("cache", f"memory, redis ({redis}), disk ({plan.variables.get(DISK_FOLDER) or 'none'})")
    say(
        "grpc",
        f"{plan.addresses.grpc} (tasks, inference, KServe v2, queues, models, cache, health, reflection)",
    )
    say("http", f"http://{plan.addresses.http} (/v2, /docs, /metrics, /healthz, /readyz)")
    for model in settings.models:
        name, _, path = model.partition("=")
        say("model", f"{name} from {path}")
    if settings.model_repository:
        say("models", f"those in {settings.model_repository}")
    if not (settings.models or settings.model_repository):
        say("models", "none; bring one with --model NAME=PATH, or see it all with `forebay demo`")


def model_names(settings: UpSettings, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the models that are loaded at the start, those of the repository included."""
    names = [model.partition("=")[0] for model in settings.models]
    repository = settings.model_repository
    control = settings.model_control or variables.get("FOREBAY_AGENT_MODEL_CONTROL", "")
    if repository and control != EXPLICIT:
        names += [model.name for model in list_models(repository.expanduser())]
    return tuple(dict.fromkeys(names))
