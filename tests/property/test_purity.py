"""Policies and routers look at nothing but what they are given: no clock, no I/O, no chance of their own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler import policies, routing

PURE = {
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "heapq",
    "itertools",
    "math",
    "operator",
    "re",
    "scheduler",
    "statistics",
    "types",
    "typing",
    "zlib",
}
"""What they may import. Of `scheduler`, import-linter keeps the domain from everything that is not."""
CALLS = {"breakpoint", "eval", "exec", "input", "now", "open", "print", "today", "__import__"}
ALLOWED = {
    # Due times are dates; it is told what the time is.
    "recurrence": {"cronsim", "datetime", "zoneinfo"},
    # A generator of random numbers is given to them, with its seed.
    "routers": {"random"},
    "power_of_two": {"random"},
}
MODULES = sorted(file for package in (policies, routing) for file in Path(package.__path__[0]).glob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_no_policy_looks_at_a_clock_or_at_files_or_throws_dice(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert set(imported(tree)) - PURE - ALLOWED.get(module.stem, set()) == set()
    assert set(called(tree)) & CALLS == set()


@pytest.mark.parametrize("module", [file for file in MODULES if "random" in ALLOWED.get(file.stem, ())])
def test_who_throws_dice_is_given_them(module: Path) -> None:
    tree = ast.parse(module.read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for alias in node.names
    }
    assert names == {"Random"}
    assert "Random" not in set(called(tree)), "it makes none of its own"


@pytest.mark.parametrize(
    "text", ["import time", "from os import urandom", "import asyncio.tasks", "x = open('f')", "date.today()"]
)
def test_what_is_impure_would_be_seen(text: str) -> None:
    tree = ast.parse(text)
    assert set(imported(tree)) - PURE or set(called(tree)) & CALLS
