from pathlib import Path

import pytest

from scheduler.errors import RuntimeMissing, StartupRefused
from services.api_keys import digest_of
from services.cli import settings
from services.cli.settings import ServerSettings, UpSettings
from services.cli.up import platform
from services.cli.up.plan import DAMAGED, Addresses, Embedded, GrpcServing, RedisAnswers, lay_out
from services.gateway.settings import GatewaySettings
from services.settings import load

ADDRESSES = Addresses(
    grpc="127.0.0.1:7070", http="127.0.0.1:7080", scheduler="127.0.0.1:1", agent="127.0.0.1:2"
)
VALKEY = Embedded(("valkey-server",), "unix:///x.sock")
BROKER = Embedded(("pulsar-lite",), "pulsar://127.0.0.1:3")


def test_embedded_servers_start_before_everything_that_needs_them() -> None:
    plan = lay_out(UpSettings(), ServerSettings(), ADDRESSES, variables={}, redis=VALKEY, broker=BROKER)
    assert [spec.name for spec in plan.processes] == [
        "valkey",
        "pulsar-lite",
        "gateway",
        "scheduler",
        "agent",
    ]
    valkey, _, gateway, scheduler, agent = plan.processes
    assert valkey.ready == RedisAnswers("unix:///x.sock")
    assert gateway.ready == GrpcServing("127.0.0.1:7070")
    assert all(spec.after == ("valkey", "pulsar-lite") for spec in (gateway, scheduler, agent))
    assert scheduler.env["FOREBAY_BROKER_SUBSCRIPTION"] == "shared"
    assert scheduler.env["FOREBAY_BROKER_URL"] == "pulsar://127.0.0.1:3"
    assert scheduler.env["FOREBAY_REDIS_URL"] == "unix:///x.sock"


def test_external_servers_are_used_and_not_started() -> None:
    external = settings.servers(
        {}, broker="pulsar://a:6650", broker_admin="", redis="redis://b:6379/0", otlp=""
    )
    plan = lay_out(UpSettings(), external, ADDRESSES, variables={}, redis=None, broker=None)
    assert [spec.name for spec in plan.processes] == ["gateway", "scheduler", "agent"]
    env = plan.processes[0].env
    assert env["FOREBAY_BROKER_URL"] == "pulsar://a:6650"
    assert env["FOREBAY_BROKER_ADMIN_URL"] == "http://a:8080"
    assert env["FOREBAY_REDIS_URL"] == "redis://b:6379/0"
    assert "FOREBAY_BROKER_SUBSCRIPTION" not in env


def test_models_reach_the_agent_only() -> None:
    up = UpSettings(models=("a=/m/a", "b=/m/b"), model_repository=Path("/m"))
    *others, agent = lay_out(
        up, ServerSettings(), ADDRESSES, variables={}, redis=VALKEY, broker=BROKER
    ).processes
    assert agent.env["FOREBAY_AGENT_MODELS"] == "a=/m/a,b=/m/b"
    assert not any("FOREBAY_AGENT_MODELS" in spec.env for spec in others)


def test_the_repository_and_who_controls_it_reach_the_agent(tmp_path: Path) -> None:
    def agent(up: UpSettings) -> dict[str, str]:
        plan = lay_out(up, ServerSettings(), ADDRESSES, variables={}, redis=VALKEY, broker=BROKER)
        return dict(plan.processes[-1].env)

    env = agent(UpSettings(model_repository=tmp_path, model_control="explicit"))
    assert env["FOREBAY_AGENT_REPOSITORY"] == str(tmp_path)
    assert env["FOREBAY_AGENT_MODEL_CONTROL"] == "explicit"
    # What the agent's own section of the settings file says stands.
    assert "FOREBAY_AGENT_MODEL_CONTROL" not in agent(UpSettings(model_repository=tmp_path))


def test_what_is_loaded_at_the_start_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "versioned" / "1").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "single.onnx").touch()
    up = UpSettings(models=("a=/m/a",), model_repository=tmp_path)
    assert platform.model_names(up, {}) == ("a", "single", "versioned")
    assert platform.model_names(up, {"FOREBAY_AGENT_MODEL_CONTROL": "explicit"}) == ("a",)


def test_the_gateway_alone_gets_the_secret_of_the_data_folder_and_by_name_only() -> None:
    up = UpSettings(data=Path("/d"))
    plan = lay_out(up, ServerSettings(), ADDRESSES, variables={}, redis=VALKEY, broker=BROKER)
    assert {spec.name: dict(spec.secrets) for spec in plan.processes if spec.secrets} == {
        "gateway": {"FOREBAY_GATEWAY_SECRET": Path("/d/secret")}
    }


def test_a_secret_of_the_users_own_is_kept() -> None:
    variables = {"FOREBAY_GATEWAY_SECRET": "mine"}
    plan = lay_out(
        UpSettings(), ServerSettings(), ADDRESSES, variables=variables, redis=VALKEY, broker=BROKER
    )
    gateway = next(spec for spec in plan.processes if spec.name == "gateway")
    assert not gateway.secrets
    assert gateway.env["FOREBAY_GATEWAY_SECRET"] == "mine"


def test_a_settings_file_reaches_processes_as_variables_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "forebay.toml"
    file.write_text(
        "[scheduler]\nlease_ms = 5000\ngrace_s = 2.5\n"
        '[queues]\npools = ["default", "gpu"]\n[engine]\ntensorrt_fp16 = true\n'
    )
    known = settings.variables(file, {"FOREBAY_SCHEDULER_LEASE_MS": "7000", "PATH": "/bin"})
    assert known == {
        "FOREBAY_SCHEDULER_LEASE_MS": "7000",
        "FOREBAY_SCHEDULER_GRACE_S": "2.5",
        "FOREBAY_QUEUES_POOLS": "default,gpu",
        "FOREBAY_ENGINE_TENSORRT_FP16": "true",
    }


def test_the_gateway_alone_gets_the_digest_of_the_key_of_up_and_nobody_the_key() -> None:
    plan = lay_out(
        UpSettings(), ServerSettings(), ADDRESSES, variables={}, redis=VALKEY, broker=BROKER, own_key="mine"
    )
    having = [spec.name for spec in plan.processes if digest_of("mine") in spec.env.values()]
    assert having == ["gateway"]
    assert not any("mine" in value.split() for spec in plan.processes for value in spec.env.values())


def test_the_file_of_api_keys_reaches_the_gateway(tmp_path: Path) -> None:
    file = tmp_path / "forebay.toml"
    file.write_text(f'[gateway]\napi_keys_file = "{tmp_path / "keys"}"\n')
    known = settings.variables(file, {})
    assert known == {"FOREBAY_GATEWAY_API_KEYS_FILE": str(tmp_path / "keys")}
    loaded = load(GatewaySettings, section="gateway", file=None, environ=known)
    assert loaded.api_keys_file == tmp_path / "keys"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not toml", "cannot be read"),
        ("lease_ms = 1", "`lease_ms` is none of its sections"),
        ("[sheduler]\nlease_ms = 1", "`sheduler` is none of its sections"),
        ("[scheduler]\nlease = 1", r"\[scheduler\] has no setting 'lease'; it has listen"),
    ],
)
def test_a_settings_file_that_cannot_be_understood_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "forebay.toml").write_text(text)
    with pytest.raises(StartupRefused, match=why):
        settings.variables(tmp_path / "forebay.toml", {})


def test_every_section_names_a_class_of_settings() -> None:
    for section in settings.SECTIONS:
        assert settings._fields(section)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("smollm2",), "NAME=PATH"),
        (("=x",), "NAME=PATH"),
        (("a=x", "a=y"), "two models"),
        (("a=x,y",), "comma"),
    ],
)
def test_a_model_flag_that_cannot_be_meant_is_refused(given: tuple[str, ...], why: str) -> None:
    with pytest.raises(StartupRefused, match=why):
        settings.parse_models(given)


def test_models_that_are_not_there_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match=r"^model foo: /nope does not exist$"):
        platform.check_models(UpSettings(models=("foo=/nope",)))
    with pytest.raises(StartupRefused, match="is not a folder"):
        platform.check_models(UpSettings(model_repository=tmp_path / "none"))


def test_models_without_a_runtime_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise RuntimeMissing("ONNX Runtime is not installed")

    monkeypatch.setattr(platform, "installed_runtime", none)
    platform.check_models(UpSettings())
    with pytest.raises(RuntimeMissing):
        platform.check_models(UpSettings(models=(f"a={tmp_path}",)))


def test_the_admin_api_is_looked_for_beside_the_broker() -> None:
    assert settings.admin_beside("pulsar://a:6650,b:6650") == "http://a:8080"
    assert settings.admin_beside("pulsar+ssl://a:6651") == "https://a:8443"
    with pytest.raises(StartupRefused, match="not an address"):
        settings.servers({}, broker="localhost:6650", broker_admin="", redis="", otlp="")


DISPATCH = (
    "[2026-01-01T10:00:00Z ERROR pulsar_lite::broker::service::topic::topic] Failed to dispatch message to "
    "subscription 'scheduler' on topic 'persistent://public/default/tasks.default.normal-partition-2': "
)


@pytest.mark.parametrize(
    "line",
    [
        DISPATCH + "invalid entrylog magic",
        DISPATCH + "entrylog position does not match index",
        DISPATCH + "entrylog length does not match index",
        DISPATCH + "entrylog checksum mismatch",
        DISPATCH + "failed to fill whole buffer",
        "[2026-01-01T10:00:00Z ERROR pulsar_lite] Flow-triggered dispatch failed: failed to fill whole buffer",
        "[2026-01-01T10:00:00Z ERROR pulsar_lite] Connection error from 127.0.0.1:40142: IO error: No space left on "
        "device: While appending to file: /d/log-0/log.rocksdb/000004.log: No space left on device",
        "thread 'tokio-rt-worker' (31781) panicked at storage/managed-ledger-rocksdb/src/entrylog.rs:408:36:",
        "thread 'tokio-rt-worker' (31781) panicked at storage\\managed-ledger-rocksdb\\src\\entrylog.rs:408:36:",
    ],
)
def test_whatever_the_broker_says_when_it_cannot_go_on_with_its_files_they_are_damaged(line: str) -> None:
    assert DAMAGED.search(line.encode() + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        "[2026-01-01T10:00:00Z ERROR pulsar_lite] Connection error from 127.0.0.1:40142: write entrylog failed: File "
        "too large (os error 27)",
        "[2026-01-01T10:00:00Z ERROR pulsar_lite::broker::service::server_cnx] Error completing persistent send: write "
        "entrylog failed: No space left on device (os error 28)",
        "[2026-01-01T10:00:00Z ERROR pulsar_lite] Connection error from 127.0.0.1:40142: failed to fill whole buffer",
    ],
)
def test_a_write_that_failed_is_no_reason_to_exchange_the_log_while_the_disk_is_full(line: str) -> None:
    assert not DAMAGED.search(line.encode() + b"\n")
