"""The README's list of files, and the heads of these files, tell the same story."""

import ast
import re
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]


def listed() -> list[str]:
    _, _, rest = (ROOT / "README.md").read_text("utf-8").partition("## Read the code")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)


def head(path: str) -> str:
    """Return the first paragraph of a module's docstring."""
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8"))) or ""
    return docstring.partition("\n\n")[0]


def test_the_path_has_eight_different_files_that_exist() -> None:
    path = listed()
    assert len(path) == len(set(path)) == 8
    assert [file for file in path if not (ROOT / file).is_file()] == []


def test_each_file_of_the_path_names_the_next_one_at_its_head() -> None:
    assert [(file, after) for file, after in pairwise(listed()) if after not in head(file)] == []


def test_each_file_of_the_path_names_the_one_before_it_at_its_head() -> None:
    assert [(file, before) for before, file in pairwise(listed()) if before not in head(file)] == []
