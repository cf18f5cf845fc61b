"""Where the kernel's counter of kills for memory is found."""

from pathlib import Path

from inference.agent.memory_kills import MemoryKills


def host(root: Path, cgroup: str, **files: str) -> MemoryKills:
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(cgroup)
    (root / "proc" / "vmstat").write_text("nr_free_pages 7\noom_kill 100\n")
    for name, text in files.items():
        file = root / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return MemoryKills(root / "proc", root / "cgroup")


def test_the_counter_of_its_own_cgroup_comes_first(tmp_path: Path) -> None:
    kills = host(
        tmp_path,
        "0::/app/one\n",
        app__one__memory_dot_events="oom 3\noom_kill 2\n",
        memory_dot_events="oom_kill 9\n",
    )
    assert kills.count() == 2
    (tmp_path / "cgroup/app/one/memory.events").write_text("oom 4\noom_kill 3\n")
    assert kills.count() == 3


def test_inside_a_container_the_cgroup_is_the_root(tmp_path: Path) -> None:
    assert host(tmp_path, "0::/host/path\n", memory_dot_events="oom_kill 9\n").count() == 9


def test_the_older_version_of_cgroups_is_read_too(tmp_path: Path) -> None:
    kills = host(
        tmp_path,
        "9:name=systemd:/\n4:memory:/app\n0::/\n",
        memory__app__memory_dot_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
    )
    assert kills.count() == 4


def test_the_host_counts_when_nothing_else_does(tmp_path: Path) -> None:
    assert host(tmp_path, "4:memory:/app\n").count() == 100


def test_without_any_counter_there_are_no_kills(tmp_path: Path) -> None:
    assert MemoryKills(tmp_path, tmp_path).count() == 0
