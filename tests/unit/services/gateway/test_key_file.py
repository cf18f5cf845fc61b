import logging
import os
from pathlib import Path
from typing import Any

import pytest

from scheduler.adapters.clock import FakeClock
from scheduler.errors import OperatorOnly, StartupRefused, Unauthenticated
from services.api_keys import digest_of, line_of, new_key
from services.gateway.caller import Caller, authorization, by_key, single_tenant
from services.gateway.key_file import INTERVAL_S, MAX_FILE_BYTES, KeyFile, key_file_followed

KEY, OTHER = new_key(), new_key()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(line_of(KEY, "acme") + "\n")
    return path


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))


def replace_unnoticed(path: Path, text: str) -> None:
    seen = path.stat()
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    os.utime(fresh, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    fresh.replace(path)
    assert path.stat().st_size == seen.st_size


class Context:
    """What a finder needs of a gRPC context."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Any:
        return self._metadata or None


async def test_a_change_of_the_file_holds_with_the_next_look(path: Path) -> None:
    file = KeyFile(path, FakeClock())
    assert file.ring.caller(KEY) == Caller("acme")
    write(path, line_of(OTHER, "other", operator=True))
    assert file.ring.caller(OTHER) is None
    await file.refresh()
    assert file.ring.caller(OTHER) == Caller("other", operator=True)
    assert file.ring.caller(KEY) is None


async def test_a_file_that_takes_the_place_of_another_is_read_even_with_the_same_time_and_size(
    path: Path,
) -> None:
    file = KeyFile(path, FakeClock())
    replace_unnoticed(path, line_of(OTHER, "acme") + "\n")
    await file.refresh()
    assert file.ring.caller(OTHER) is not None


@pytest.mark.parametrize("text", ["nonsense", "\udcff", "x" * (MAX_FILE_BYTES + 1), None])
async def test_a_file_that_cannot_be_used_leaves_the_keys_as_they_were_and_is_told_of_once(
    path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = KeyFile(path, FakeClock())
    write(path, text) if text is not None else os.unlink(path)
    with caplog.at_level(logging.ERROR):
        await file.refresh()
        await file.refresh()
    assert file.ring.caller(KEY) == Caller("acme")
    assert [record.getMessage() for record in caplog.records] == ["api keys not changed"]
    assert "nonsense" not in str(vars(caplog.records[0]))


async def test_the_key_of_whoever_started_the_gateway_holds_whatever_is_in_the_file(path: Path) -> None:
    starter = Caller("default", operator=True)
    file = KeyFile(path, FakeClock(), {digest_of(OTHER): starter})
    assert file.ring.caller(OTHER) == starter
    write(path, "")
    await file.refresh()
    assert (file.ring.caller(OTHER), file.ring.caller(KEY)) == (starter, None)


async def test_the_file_is_looked_at_about_every_second(path: Path) -> None:
    clock = FakeClock()
    async with key_file_followed(path, clock) as ring:
        await clock.until_asleep()
        write(path, line_of(OTHER, "other"))
        while ring.caller(OTHER) is None:
            clock.advance(1.0)
            await clock.until_asleep()


def test_without_a_usable_file_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="cannot be read: No such file"):
        KeyFile(tmp_path / "none", FakeClock())
    broken = tmp_path / "broken"
    broken.write_text("x")
    with pytest.raises(StartupRefused, match="line 1"):
        KeyFile(broken, FakeClock())


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", f"Bearer {KEY}"),),
        (("authorization", f"bearer  {KEY} "),),
        (("x-api-key", KEY),),
        (("user-agent", "x"), ("trace-bin", b"\0"), ("x-api-key", KEY)),
        (("authorization", "Basic eDp5"), ("x-api-key", KEY)),
    ],
)
def test_a_caller_is_whose_key_the_call_brings(path: Path, metadata: Any) -> None:
    find = by_key(KeyFile(path, FakeClock()).ring)
    assert find(Context(*metadata)) == Caller("acme")


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", f"Bearer {OTHER}"),),
        (("authorization", "Bearer "), ("x-api-key", KEY)),
        (("authorization", f"Basic {KEY}"),),
        (("authorization", KEY),),
        (("x-api-key", ""),),
        (("x-api-key", KEY + "x"),),
        (("x-api-key", "x" * 100_000),),
        (("x-api-key", "\udcff"),),
    ],
)
def test_whoever_brings_no_known_key_is_told_the_same_whatever_is_wrong(path: Path, metadata: Any) -> None:
    find = by_key(KeyFile(path, FakeClock()).ring)
    with pytest.raises(Unauthenticated) as raised:
        find(Context(*metadata))
    assert str(raised.value) == str(Unauthenticated())


def test_only_operators_do_what_concerns_all_tenants(path: Path) -> None:
    path.write_text(f"{line_of(KEY, 'acme')}\n{line_of(OTHER, 'acme', operator=True)}\n")
    check = authorization(by_key(KeyFile(path, FakeClock()).ring))
    acme, operator = Context(("x-api-key", KEY)), Context(("x-api-key", OTHER))
    check("forebay.tasks.v1.TaskService/SubmitTasks", acme)
    check("forebay.queues.v1.QueueService/PauseQueue", operator)
    queues, repository = ("PauseQueue", "ResumeQueue", "UpdatePolicy"), ("LoadModel", "UnloadModel")
    for method in (*queues, *repository, "RepositoryModelLoad", "RepositoryModelUnload"):
        with pytest.raises(OperatorOnly, match=method):
            check(f"forebay.queues.v1.QueueService/{method}", acme)
    with pytest.raises(Unauthenticated):
        check("forebay.models.v1.ModelService/ListModels", Context())


def test_without_keys_everybody_is_the_tenant_of_the_settings_and_operates() -> None:
    find = single_tenant("default")
    assert find(Context()) == Caller("default", operator=True)
    authorization(find)("forebay.queues.v1.QueueService/PauseQueue", Context())


async def test_who_the_tenants_are_is_told_at_the_start_and_after_each_change_when_the_keys_hold(
    path: Path,
) -> None:
    told: list[tuple[Any, Caller | None]] = []

    async def heard(tenants: Any) -> bool:
        told.append((tenants, file.ring.caller(KEY)))
        return True

    second = new_key()
    write(path, line_of(KEY, "acme") + "\n" + line_of(second, "acme") + "\n" + line_of(OTHER, "other"))
    file = KeyFile(path, FakeClock(), {digest_of("own"): Caller("default")}, heard)
    await file.tell()
    for text in ("no key", line_of(OTHER, "other")):
        write(path, text)
        for _ in range(2):
            await file.refresh()
            await file.tell()
    others = {"other": {digest_of(OTHER)}, "default": {""}}
    assert told == [
        ({"acme": {digest_of(KEY), digest_of(second)}, **others}, Caller("acme")),
        (others, None),
    ]


async def test_who_the_tenants_are_is_told_until_it_is_taken_in(path: Path) -> None:
    told = []

    async def heard(tenants: Any) -> bool:
        told.append(list(tenants))
        return len(told) > 2

    write(path, line_of(KEY, "acme"))
    clock = FakeClock()
    async with key_file_followed(path, clock, heard=heard):
        for _ in range(4):
            await clock.until_asleep()
            clock.advance(INTERVAL_S)
        await clock.until_asleep()
    assert told == [["acme"]] * 3
