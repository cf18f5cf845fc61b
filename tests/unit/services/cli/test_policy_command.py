"""What `forebay policy set` does when somebody else changes the policy in the same moment, and what it says."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forebay.client import Conflict, PolicyInfo, PolicyLimit
from services.cli.__main__ import cli
from services.cli.commands import policy as command
from tests.unit.sdk.test_policy import READ


class Server:
    """Has a policy, and may have another one before a change comes."""

    def __init__(self, *meanwhile: PolicyInfo) -> None:
        self.standing = READ
        self.meanwhile = deque(meanwhile)
        self.asked: list[dict[str, Any]] = []

    def policy(self) -> PolicyInfo:
        return self.standing

    def update_policy(self, *, version: int | None = None, **changes: Any) -> PolicyInfo:
        self.asked.append(changes)
        if self.meanwhile:
            self.standing = self.meanwhile.popleft()
        if version != self.standing.version:
            raise Conflict("another version stands")
        changed = replace(self.standing, **changes)
        if changed != self.standing:
            self.standing = replace(changed, version=self.standing.version + 1)
        return self.standing


def run(server: Server, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    @contextmanager
    def client(address: str) -> Iterator[Server]:
        yield server

    monkeypatch.setattr(command, "client", client)
    return CliRunner().invoke(cli, ["policy", *words])


def test_an_entry_is_added_to_what_somebody_else_has_set_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(replace(READ, version=4, tenant_weights={"x": 9.0}))
    result = run(server, monkeypatch, "set", "tenant_weights.b=2")
    assert result.exit_code == 0
    assert server.standing.tenant_weights == {"x": 9.0, "b": 2.0}
    assert [asked["tenant_weights"] for asked in server.asked] == [{"a": 3.0, "b": 2.0}, {"x": 9.0, "b": 2.0}]


def test_a_change_for_a_version_is_not_made_for_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    result = run(server, monkeypatch, "set", "stretch=1", "--version", "2")
    assert isinstance(result.exception, Conflict)
    assert len(server.asked) == 1


def test_a_policy_that_never_stops_changing_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(*(replace(READ, version=version) for version in range(4, 20)))
    result = run(server, monkeypatch, "set", "stretch=1")
    assert isinstance(result.exception, Conflict)
    assert len(server.asked) == 3


def test_a_change_is_told_in_the_words_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    words = ("order=fifo", "tenant_weights=default", "limit.remove=shared", "limit.add=rate=2")
    # A server fills in what was taken back to its default.
    monkeypatch.setattr(server, "update_policy", lambda *, version, **changes: replace(
        READ, version=4, **{**changes, "tenant_weights": {}}
    ))  # fmt: skip
    lines = run(server, monkeypatch, "set", *words).output.splitlines()
    assert lines[0] == "version         4"
    assert lines[2:] == [
        "order           fifo",
        "tenant_weights  none",
        "limit           rate=2",
        "no limit        shared rate=0.5 burst=2",
    ]


def test_a_change_that_changes_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(Server(), monkeypatch, "set", "order=shortest")
    assert result.output == "nothing changed: version 3 of the policy stands\n"


def test_a_policy_is_shown_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    server.standing = replace(READ, limits=(PolicyLimit("a", rate=1.0), PolicyLimit("b", rate=2.0)))
    lines = run(server, monkeypatch, "show").output.splitlines()
    assert lines[0] == "version         3"
    assert [line for line in lines if line.startswith("limit")] == [
        "limit           tenant=a rate=1",
        "limit           tenant=b rate=2",
    ]
