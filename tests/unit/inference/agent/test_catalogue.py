"""Where the models of a host are."""

from pathlib import Path

import pytest

from inference.agent.catalogue import Catalogue, read_catalogue
from scheduler.errors import StartupRefused


def test_named_models_are_served_whether_or_not_their_path_is_good(tmp_path: Path) -> None:
    found = read_catalogue(["b=/nowhere", "a=/models/a=b"], tmp_path)
    assert found == Catalogue({"a": Path("/models/a=b"), "b": Path("/nowhere")}, tmp_path)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused) as refused:
        read_catalogue(["no path", "=x", "a=1", "a=2", "b d=3"], tmp_path / "missing")
    text = str(refused.value)
    assert all(part in text for part in ("'no path'", "'=x'", "'a' is named twice", "'b d=3'", "missing"))
