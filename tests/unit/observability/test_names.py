"""Every name that is declared is one that the platform really writes."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMES = ROOT / "observability" / "names.py"
PACKAGES = ("services", "scheduler", "inference", "observability", "sdk")


def declared() -> set[str]:
    body = ast.parse(NAMES.read_text("utf-8")).body
    constants = {
        node.target.id
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return constants | {node.name for node in body if isinstance(node, ast.FunctionDef)}


def used_in(file: Path) -> set[str]:
    """Return what a module takes from names.py: `names.X`, or `from observability.names import X`."""
    used = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "names":
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == "observability.names":
            used.update(alias.name for alias in node.names)
    return used


def test_every_declared_name_is_used() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if file != NAMES]
    used = set().union(*map(used_in, files))
    assert declared() - used == set()
