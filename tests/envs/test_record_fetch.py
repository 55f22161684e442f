"""Play on Fetch is recorded with what is told of it, and scripts read the environment as the logs have it."""

import re
from subprocess import CalledProcessError

import numpy as np
import pytest

from glocal.data.formats import open_dataset
from glocal.data.propose_robot import propose_robot
from glocal.pipeline.real import check_environment
from tests.logs import ROOT, bench

pytest.importorskip(
    "gymnasium_robotics", reason="gymnasium_robotics is not installed, which has Fetch: pip install -e '.[tasks]'"
)

from glocal.pipeline.config import EnvConfig, RobotConfig

PLAY = ("--episodes", "3", "--steps", "100", "--processes", "1")


def senses(name: str) -> tuple[str, ...]:
    """What a script has `--env.senses` read."""
    return tuple(re.findall(r"'(observation\.[^']+=[^']+)'", (ROOT / "runs" / name).read_text()))


def test_places_are_those_of_the_same_play_each_in_the_rooms_axes(tmp_path):
    bench("record", "fetch-push", tmp_path / "all", *PLAY)
    bench("record", "fetch-push-places", tmp_path / "places", *PLAY)
    told = open_dataset(tmp_path / "all").episode(0, ["observation.observation", "action"])
    dataset = open_dataset(tmp_path / "places")
    places = dataset.episode(0, ["observation.gripper", "observation.object", "action"])
    seen = told["observation.observation"]
    assert np.array_equal(told["action"], places["action"])
    assert np.array_equal(places["observation.gripper"][:, :3], seen[:, :3])
    assert np.array_equal(places["observation.object"][:, :3], seen[:, 3:6])
    away = seen[:, 6:9]
    every = np.concatenate([places["observation.gripper"], places["observation.object"]], axis=1)
    assert not any(np.allclose(every[:, i : i + 3], away) for i in range(every.shape[1] - 2))
    mapping, _ = propose_robot(dataset)
    check_environment(RobotConfig(mapping), EnvConfig("FetchPush-v4", senses=senses("fetch_push_places.sh")))


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine").write_text("kept")
    with pytest.raises(CalledProcessError) as refused:
        bench("record", "fetch-push", tmp_path / "logs", *PLAY)
    assert b"exists" in refused.value.stderr
    assert [path.read_text() for path in (tmp_path / "logs").iterdir()] == ["kept"]
