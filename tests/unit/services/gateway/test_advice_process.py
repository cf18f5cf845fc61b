"""The process that advises: what it has of the gateway that starts it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.gateway.cache_control.advice_process import advised


async def test_it_takes_no_module_from_the_folder_in_which_the_gateway_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('somebody else's')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert await advised([]) == []


async def test_it_is_not_given_the_secrets_of_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_GATEWAY_SECRET", "s" * 32)
    start, given = asyncio.create_subprocess_exec, []

    async def started(*command: str, **options: Any) -> asyncio.subprocess.Process:
        given.append(options["env"])
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    assert await advised([]) == []
    [environment] = given
    assert "PATH" in environment
    assert not [name for name in environment if name.startswith("FOREBAY_")]
