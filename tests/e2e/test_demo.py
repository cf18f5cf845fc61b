"""What a newcomer sees first: `forebay demo`, from nothing running to answers, and nothing left."""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fixtures.smollm2 import model_cache

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_demo_answers_all_four_levels_shows_one_trace_and_leaves_nothing_running(
    smollm2_gguf: Path,
) -> None:
    command = [sys.executable, "-m", "services.cli", "demo", "--cache", str(model_cache())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout
    answers = re.findall(
        r"^(critical|high|normal|low) +[\d.]+ m?s +[\d.]+ m?s +\d+ +(\S.*)$", output, re.MULTILINE
    )
    levels = [level for level, _ in answers]
    assert {level: levels.count(level) for level in ("critical", "high", "normal", "low")} == {
        "critical": 1,
        "high": 3,
        "normal": 4,
        "low": 24,
    }
    assert "Paris" in dict(answers)["critical"]
    # Levels overtake: once the first tasks hold the runner, none of a lower level starts before a waiting higher one.
    assert levels.index("critical") < levels.index("high") < levels.index("normal")
    assert levels[-1] == "low"
    trace = output[output.index("One trace from door to door") :]
    for service in ("client", "gateway", "scheduler", "runner"):
        assert re.search(rf"^  {service} ", trace, re.MULTILINE), trace
    assert output.rstrip().endswith("Nothing is left running.")
    data = re.search(r"^data +(\S+)$", output, re.MULTILINE)
    assert data is not None
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if data[1] in " ".join(p.info["cmdline"] or [])]
    assert left == []
