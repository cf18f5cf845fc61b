"""Which runner processes a model gets, and what each is told."""

from pathlib import Path

import pytest

from inference.agent.posts import Post, all_versions_of, posts_of, versions_of
from inference.agent.process import variables_of
from inference.repository.instances import Seat
from inference.repository.listing import ListedModel, list_model
from inference.settings import EngineSettings
from services.settings import load


def listed(tmp_path: Path, config: str, *versions: int) -> ListedModel:
    for version in versions:
        (tmp_path / "m" / str(version)).mkdir(parents=True)
        (tmp_path / "m" / str(version) / "model.onnx").touch()
    (tmp_path / "m" / "config.pbtxt").write_text(config)
    return list_model(tmp_path / "m")


def test_each_version_gets_each_instance_and_the_highest_answers_to_the_name(tmp_path: Path) -> None:
    model = listed(
        tmp_path,
        "version_policy { latest { num_versions: 2 } }\n"
        "instance_group [ { count: 1 kind: KIND_CPU }, { count: 2 kind: KIND_GPU gpus: [ 1 ] } ]\n",
        *(1, 2, 3),
    )
    posts = posts_of(model, 7)
    assert [(post.version, post.highest, post.seat.device) for post in posts] == [
        *((2, False, None), (2, False, 1), (2, False, 1)),
        *((3, True, None), (3, True, 1), (3, True, 1)),
    ]
    assert [(post.seat.providers, post.seat.gpu_only) for post in posts[:3]] == [
        (("cpu",), False),
        ((), True),
        ((), True),
    ]
    assert {(post.generation, post.seats) for post in posts} == {(7, 3)}
    assert len(set(posts)) == 6
    assert all_versions_of(model) == (1, 2, 3)


def test_a_plain_model_has_one_runner_without_a_version(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    plain = list_model(tmp_path / "m.onnx")
    [post] = posts_of(plain, 1)
    assert (post.version, post.highest) == (0, True)
    assert versions_of(plain) == all_versions_of(plain) == (0,)


def test_a_model_with_a_fault_gets_one_runner_that_says_so(tmp_path: Path) -> None:
    broken = listed(tmp_path, "max_batch_size: -1\n", 1)
    assert broken.fault
    [post] = posts_of(broken, 1)
    assert post.version == 0


def told(environ: dict[str, str] | None = None, cores: int = 8, **fields: object) -> dict[str, str]:
    return variables_of(Post("m", Path("/m"), **fields), environ or {}, cores)  # type: ignore[arg-type]


def test_a_runner_is_told_its_version_and_where_it_runs() -> None:
    variables = told(version=3, highest=False, generation=2, seat=Seat(("cpu",), device=1))
    assert variables == {
        "FOREBAY_RUNNER_MODEL": "m",
        "FOREBAY_RUNNER_PATH": "/m",
        "FOREBAY_RUNNER_VERSION": "3",
        "FOREBAY_RUNNER_HIGHEST": "false",
        "FOREBAY_RUNNER_GENERATION": "2",
        "FOREBAY_ENGINE_PROVIDERS": "cpu",
        "FOREBAY_ENGINE_DEVICE": "1",
    }


def test_a_runner_whose_seat_is_a_gpu_is_told_that_nothing_else_will_do() -> None:
    variables = told(seat=Seat(gpu_only=True, device=1))
    assert (variables["FOREBAY_ENGINE_GPU_ONLY"], variables["FOREBAY_ENGINE_DEVICE"]) == ("true", "1")
    assert "FOREBAY_ENGINE_PROVIDERS" not in variables
    read = load(EngineSettings, section="engine", file=None, environ=variables)
    assert (read.gpu_only, read.providers) == (True, EngineSettings().providers)


@pytest.mark.parametrize(("seats", "cores", "threads"), [(2, 8, "4"), (3, 8, "2"), (4, 2, "1")])
def test_instances_of_a_model_share_the_cores(seats: int, cores: int, threads: str) -> None:
    assert told(cores=cores, seats=seats)["FOREBAY_ENGINE_THREADS"] == threads
    assert told({"FOREBAY_ENGINE_THREADS": "0"}, cores, seats=seats)["FOREBAY_ENGINE_THREADS"] == threads


def test_a_model_of_one_instance_has_all_cores_and_a_setting_stands() -> None:
    assert "FOREBAY_ENGINE_THREADS" not in told(seats=1)
    assert "FOREBAY_ENGINE_THREADS" not in told({"FOREBAY_ENGINE_THREADS": "3"}, seats=4)
