"""The document of promises names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    sections = (("G", 9), ("O", 6), ("D", 7), ("C", 9), ("S", 5))
    numbers = [f"{letter}{number + 1}" for letter, count in sections for number in range(count)]
    assert [row.split("**")[1] for row in rows] == numbers
    for row in rows:
        named = re.findall(r"`(tests/[^`]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            functions = {
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert name in functions, f"{file} has no {name}"


def test_the_number_of_sabotages_is_the_one_that_is_told() -> None:
    from tests.simulation.sabotage import SABOTAGES

    text = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    assert f"breaks the product in {len(SABOTAGES)} ways" in " ".join(text.split())
