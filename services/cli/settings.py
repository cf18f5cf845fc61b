"""Settings of `forebay up`: a TOML file, overridden by FOREBAY_* variables, overridden by flags.

Sections of other processes in the same file ([gateway], [scheduler], [agent], …) reach them as variables.
"""

import importlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from scheduler.errors import StartupRefused
from services.cli.exits import cause
from services.settings import ranged

DEFAULT_ADDRESS: Final = "127.0.0.1:7070"
EXPLICIT: Final = "explicit"
"""The value of `[agent] model_control` with which nothing of a repository is loaded at the start."""
API_KEY: Final = "forebay.api_key"
"""Under this name click's context keeps what --api-key gave; None leaves it to FOREBAY_API_KEY."""
SECTIONS: Final[Mapping[str, str]] = {
    "up": "services.cli.settings:UpSettings",
    "gateway": "services.gateway.settings:GatewaySettings",
    "cache": "services.gateway.caching.settings:CacheSettings",
    "scheduler": "scheduler.service.settings:SchedulerSettings",
    "agent": "inference.agent.settings:AgentSettings",
    "runner": "inference.runner.settings:RunnerSettings",
    "engine": "inference.loading:EngineSettings",
    "redis": "services.connections:RedisSettings",
    "broker": "services.connections:BrokerSettings",
    "queues": "services.connections:QueueSettings",
    "policy": "services.policy_settings:PolicySettings",
    "retention": "services.connections:RetentionSettings",
    "telemetry": "services.connections:TelemetrySettings",
}
"""Tables of the settings file -> the class that each one fills."""


def default_data() -> Path:
    """Return where everything is kept when nothing else is said: one folder for each user, wherever one stands.

    By the XDG rule: `$XDG_DATA_HOME/forebay`, or `~/.local/share/forebay`.
    """
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "forebay"


@dataclass(frozen=True, slots=True)
class UpSettings:
    """Section `up`: what runs on this machine."""

    data: Path | None = None
    """Folder for records, log, models and logs. Default: ~/.local/share/forebay."""
    host: str = "127.0.0.1"
    """Address that the gateway listens on. Keep it on the loopback unless `[gateway] api_keys_file` names keys, and a
    TLS proxy stands before it: without keys nobody asks callers who they are, and keys travel in the clear.
    """
    grpc_port: int = 7070
    """Port of the gateway's gRPC server."""
    http_port: int = 7080
    """Port of the gateway's HTTP server."""
    models: tuple[str, ...] = ()
    """Models to serve, as NAME=PATH."""
    model_repository: Path | None = None
    """Folder whose entries are models too, each named like its entry."""
    model_control: str = ""
    """Which of them are loaded: poll (all, again when their folders change), explicit (those that operators load), none
    (all at the start, never changed). Default: what `[agent] model_control` says, which is poll."""
    grace_s: float = 10.0
    """How long running work may take to end after the first Ctrl-C, in seconds."""
    log_limit_mb: int = ranged(1024, minimum=1)
    """Size in MiB at which the embedded broker's log is exchanged for a fresh one with what has not ended."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Servers that are not ours to start. Empty: the embedded one."""

    redis_url: str = ""
    """`redis://host:port/db`, from --redis, FOREBAY_REDIS_URL or `[redis] url`."""
    broker_url: str = ""
    """`pulsar://host:port`, from --broker, FOREBAY_BROKER_URL or `[broker] url`."""
    broker_admin: str = ""
    """`http://host:port`, from --broker-admin, FOREBAY_BROKER_ADMIN_URL or `[broker] admin_url`; by default the
    broker's host with port 8080."""
    otlp_endpoint: str = ""
    """Where traces go, from --otlp-endpoint, FOREBAY_TELEMETRY_OTLP_ENDPOINT or `[telemetry] otlp_endpoint`."""


def variables(file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the FOREBAY_* variables that hold: those of the environment, and the file's where they are silent.

    `[section] key = value` is FOREBAY_SECTION_KEY; lists are joined with commas, booleans are true and false.
    Raises StartupRefused when the file cannot be read.
    """
    found = {name: value for name, value in environ.items() if name.startswith("FOREBAY_")}
    if file is None:
        return found
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartupRefused(f"the settings file {file} cannot be read: {cause(error)}") from error
    faults = []
    for section, table in tables.items():
        if not isinstance(table, dict) or section not in SECTIONS:
            faults.append(f"`{section}` is none of its sections, [{'], ['.join(SECTIONS)}]")
            continue
        known = _fields(section)
        faults += [
            f"[{section}] has no setting {key!r}; it has {', '.join(known)}"
            for key in table
            if key not in known
        ]
        for key, value in table.items():
            found.setdefault(f"FOREBAY_{section}_{key}".upper(), _as_text(value))
    if faults:
        raise StartupRefused(f"the settings file {file} cannot be understood: {'; '.join(faults)}")
    return found


def _fields(section: str) -> list[str]:
    """Return the names of a section's settings."""
    return [field.name for field in fields(section_class(section))]


def section_class(section: str) -> Any:
    """Return the class of a section's settings. It is looked up by name: no part of us runs any other."""
    module, _, name = SECTIONS[section].partition(":")
    return getattr(importlib.import_module(module), name)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_as_text(item) for item in value)
    return str(value)


def servers(
    known: Mapping[str, str], *, broker: str, broker_admin: str, redis: str, otlp: str
) -> ServerSettings:
    """Settle which servers are used, from flags ("" where absent) over variables."""
    broker_url = broker or known.get("FOREBAY_BROKER_URL", "")
    admin = broker_admin or known.get("FOREBAY_BROKER_ADMIN_URL", "")
    if broker_url and not broker_url.startswith(("pulsar://", "pulsar+ssl://")):
        raise StartupRefused(f"--broker {broker_url} is not an address such as pulsar://127.0.0.1:6650")
    redis_url = redis or known.get("FOREBAY_REDIS_URL", "")
    if redis_url and not redis_url.startswith(("redis://", "rediss://", "unix://")):
        raise StartupRefused(f"--redis {redis_url} is not an address such as redis://127.0.0.1:6379/0")
    if broker_url and not admin:
        admin = admin_beside(broker_url)
    return ServerSettings(
        redis_url=redis_url,
        broker_url=broker_url,
        broker_admin=admin if broker_url else "",
        otlp_endpoint=otlp or known.get("FOREBAY_TELEMETRY_OTLP_ENDPOINT", ""),
    )


def admin_beside(broker_url: str) -> str:
    """Return where a broker's admin API is by default: its first host, port 8080 (8443 with TLS)."""
    secure = broker_url.startswith("pulsar+ssl://")
    host = broker_url.partition("://")[2].split(",")[0].split("/")[0].rpartition(":")[0]
    return f"https://{host}:8443" if secure else f"http://{host}:8080"


def parse_models(given: tuple[str, ...]) -> tuple[str, ...]:
    """Check NAME=PATH and make each path absolute. Raises StartupRefused for what is not of that form."""
    checked: dict[str, str] = {}
    for one in given:
        name, equals, path = one.partition("=")
        if not (name and equals and path):
            raise StartupRefused(f"--model {one} is not NAME=PATH, for example smollm2=models/smollm2")
        if name in checked:
            raise StartupRefused(f"two models are called {name}; give each --model a name of its own")
        if "," in path:
            raise StartupRefused(
                f"the path of model {name} contains a comma, which settings use between models"
            )
        checked[name] = str(Path(path).expanduser().resolve())
    return tuple(f"{name}={path}" for name, path in checked.items())
