"""`glocal.make_vec`: the global model of a run as environments for anybody's agents."""

import re
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import glocal
from glocal.cli import main
from glocal.pipeline.run import open_run
from glocal.runtime.files import UserError
from tests.robots import seeing_logs

ONE = ("--threads", "1", "--processes", "1")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory) -> Path:
    """Of a run that observes two cameras, all up to the local model."""
    folder = tmp_path_factory.mktemp("seeing")
    logs, run = seeing_logs(folder / "logs"), folder / "run"
    for verb in (("collect",), ("train", "codec"), ("train", "global"), ("train", "local")):
        name = ("robot-images-debug", "--logs", str(logs)) if verb == ("collect",) else ()
        main([*verb, *(name or (str(run),)), *(("--run", str(run)) if name else ()), *ONE])
    return run


class Alone(gymnasium.Env[Any, Any]):
    """One of the environments by itself, for Gymnasium's own checks of a single one."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, run: Path, render_mode: str | None = None):
        self.envs, self.render_mode = glocal.make_vec(run, 1, render_mode=render_mode), render_mode
        self.observation_space = self.envs.single_observation_space
        self.action_space = self.envs.single_action_space
        self.spec = gymnasium.envs.registration.EnvSpec("glocal/Alone-v0", entry_point="")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        obs, info = self.envs.reset(seed=seed, options=options)
        self._np_random = self.envs.np_random
        return obs[0], info

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.envs.step(action[None])
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        frames = self.envs.render()
        return None if frames is None else frames[0]


@pytest.mark.filterwarnings("ignore:.*infinity.*", "ignore:.*None, gymnasium.*", "ignore:.*spec.*")
def test_it_passes_gymnasiums_checks(seeing):
    check_env(Alone(seeing, "rgb_array"), skip_render_check=True, skip_close_check=True)


def test_pictures_of_all_cameras_stand_side_by_side(seeing):
    envs = glocal.make_vec(seeing, 3, render_mode="rgb_array")
    envs.reset(seed=0)
    frames = envs.render()
    assert frames is not None and len(frames) == 3
    assert frames[0].shape == (64, 128, 3) and frames[0].dtype == np.uint8
    run = open_run(seeing)
    with torch.no_grad():
        drawn = run.codec.decode(envs.now.obs)
    assert np.array_equal(frames[1], np.concatenate([drawn["top"][1].numpy(), drawn["side"][1].numpy()], axis=1))


def test_what_is_not_said_is_as_the_runs_own_policy_imagines(seeing):
    run, envs = open_run(seeing), glocal.make_vec(seeing, 2, observe="belief")
    assert (envs.horizon == run.config.learn.episode).all()
    assert envs.single_action_space.shape == (4,)
    obs, _ = envs.reset(seed=0)
    assert obs.shape == (2, run.surrogate().initial(run.observations[:1]).feat.shape[1])
    rows = glocal.make_vec(seeing, 2).reset(seed=0)[0]
    assert rows.shape == (2, run.observations.shape[1])


def test_episodes_that_no_model_was_trained_on(seeing):
    run = open_run(seeing)
    envs = glocal.make_vec(seeing, 40, held_out=True)
    obs, aside = envs.reset(seed=0)[0], run.experience[1].steps.obs.numpy()
    assert all((one == aside).all(1).any() for one in obs)


def test_of_numbers_there_are_no_pictures_and_without_a_model_there_is_nothing(seeing, tmp_path):
    with pytest.raises(UserError, match="is no run"):
        glocal.make_vec(tmp_path / "none")
    copy = tmp_path / "copy"
    shutil.copytree(seeing, copy)
    (copy / "stages" / "local.json").unlink()
    glocal.make_vec(copy)
    with pytest.raises(UserError, match="has no finished local model yet"):
        glocal.make_vec(copy, observe="belief")
    (copy / "stages" / "global.json").unlink()
    with pytest.raises(UserError, match=re.escape(f"`glocal run {copy}` trains it")):
        glocal.make_vec(copy)
