"""Where journals lie."""

import subprocess
import sys
from pathlib import Path

from inference.agent.journals import journal_folder


def test_the_folder_goes_with_its_agent(tmp_path: Path) -> None:
    with journal_folder(tmp_path) as folder:
        (folder / "x.journal").write_bytes(b"x")
        assert [folder] == list(tmp_path.iterdir())

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_agent_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from inference.agent.journals import journal_folder\n"
        "with journal_folder(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == -9
    (tmp_path / "forebay-agent-notes").mkdir()
    left = {path.name for path in tmp_path.iterdir()}
    with journal_folder(tmp_path) as mine, journal_folder(tmp_path) as other:
        assert {path.name for path in tmp_path.iterdir()} == {"forebay-agent-notes", mine.name, other.name}
    assert len(left) == 2


def test_the_folder_of_a_live_agent_whose_number_is_unknown_here_stays(tmp_path: Path) -> None:
    with journal_folder(tmp_path) as folder:
        # As seen from another container: no process here has that number.
        elsewhere = folder.rename(tmp_path / f"forebay-agent-{2**22 + 1}-x")
        with journal_folder(tmp_path):
            assert elsewhere.is_dir()
        elsewhere.rename(folder)
