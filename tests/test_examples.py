"""Other people's agents train in the imagined environments of a run, and are judged in its real one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecCheckNan
from torch import nn

import glocal
from glocal.cli import main
from tests.refusals import refused

ROOT = Path(__file__).parents[1]
ONE = ("--threads", "1", "--processes", "1")


@pytest.fixture(scope="module")
def pushing(tmp_path_factory) -> Path:
    """A run of which all is trained but the policy."""
    run = tmp_path_factory.mktemp("pushing") / "run"
    for verb in (("collect",), ("train", "global"), ("train", "local")):
        main([*verb, "pusht-keypoints-debug", "--run", str(run), *ONE])
    return run


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("train_sb3.py", ("--algorithm", "ppo", "--steps", "512", "--envs", "16")),
        ("train_sb3.py", ("--algorithm", "sac", "--steps", "256", "--envs", "16", "--observe", "row")),
        ("train_cleanrl.py", ("--steps", "512", "--envs", "16")),
        ("train_rsl_rl.py", ("--iterations", "2", "--envs", "16", "--observe", "row")),
    ],
)
def test_an_example_trains_an_actor_that_can_be_judged(pushing, tmp_path, script, options):
    actor = tmp_path / f"{Path(script).stem}.onnx"
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / script, pushing, *options, "--out", actor],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    main(["evaluate", str(pushing), "--actor", str(actor), "--episodes", "2"])
    found = json.loads((pushing / "actors" / f"{actor.stem}.json").read_text())
    assert found["pose"]["n"] == 2


def test_stable_baselines_sees_episodes_end(pushing):
    envs = glocal.make_vec(pushing, 3, horizon=np.array([2, 3, 9]), autoreset_mode="SameStep")
    told = VecCheckNan(glocal.SB3VecEnv(envs))
    told.seed(4)
    first = told.reset()
    assert first.shape == (3, 18)
    ends = []
    for _ in range(4):
        obs, _, over, infos = told.step(np.zeros((3, 2), np.float32))
        ends.append(over.tolist())
        for i in range(3):
            assert ("terminal_observation" in infos[i]) == over[i]
            if over[i]:
                assert infos[i]["TimeLimit.truncated"]
                assert not np.allclose(infos[i]["terminal_observation"], obs[i])
    assert ends == [[False] * 3, [True, False, False], [False, True, False], [True, False, False]]


def test_the_same_seed_gives_the_same_episodes_to_stable_baselines(pushing):
    envs = glocal.SB3VecEnv(glocal.make_vec(pushing, 2, autoreset_mode="SameStep"))
    firsts = []
    for seed in (1, 1, 2):
        envs.seed(seed)
        firsts.append(envs.reset())
    assert np.array_equal(firsts[0], firsts[1])
    assert not np.array_equal(firsts[0], firsts[2])


def test_rsl_rl_sees_that_time_has_run_out(pushing):
    envs = glocal.RslRlVecEnv(glocal.make_vec(pushing, 2, horizon=2, autoreset_mode="SameStep", tensors=True))
    assert (envs.num_actions, envs.max_episode_length) == (2, 2)
    for expected in ([0, 0], [1, 1], [0, 0]):
        obs, reward, over, extras = envs.step(torch.zeros(2, 2))
        assert over.tolist() == expected
        assert extras["time_outs"].tolist() == [bool(x) for x in expected]
        assert obs["policy"].shape == (2, 18)
        assert reward.shape == (2,)
    envs.episode_length_buf = torch.tensor([1, 0])
    assert envs.step(torch.zeros(2, 2))[2].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SB3VecEnv", {"autoreset_mode": "SameStep", "tensors": True}),
        ("RslRlVecEnv", {"tensors": True}),
        ("SB3VecEnv", {}),
    ],
)
def test_environments_of_another_kind_are_refused(pushing, kind, options):
    with pytest.raises(ValueError, match="needs make_vec"):
        getattr(glocal, kind)(glocal.make_vec(pushing, 2, **options))


class Towards(nn.Module):
    """Goes where it looks, by hand: pushes to the right for rows whose first number is positive."""

    def forward(self, obs):
        return torch.stack([obs[:, 0].sign(), torch.zeros_like(obs[:, 0])], dim=-1)


class One(nn.Module):
    """Says one number where a robot is told two."""

    def forward(self, obs):
        return obs[:, :1]


def test_a_network_that_takes_no_such_observations_is_refused_and_stays_as_it_is(tmp_path):
    network = nn.Sequential(nn.Linear(4, 2), nn.Dropout())
    with pytest.raises(ValueError, match=r"does not take observations \(n, 5\)"):
        glocal.save_actor(tmp_path / "wide.onnx", network, 5)
    with pytest.raises(ValueError, match=r"expected actions \(2, a\)"):
        glocal.save_actor(tmp_path / "flat.onnx", nn.Flatten(0), 5)
    glocal.save_actor(tmp_path / "new" / "actor.onnx", network, 4)
    assert network.training and (tmp_path / "new" / "actor.onnx").is_file()


def test_an_actor_that_is_saved_acts_as_its_network_does(tmp_path):
    from glocal.deploy.actors import OnnxActor

    glocal.save_actor(tmp_path / "actor.onnx", Towards(), 18)
    rows = torch.randn(5, 18)
    np.testing.assert_array_equal(OnnxActor(tmp_path / "actor.onnx", 2)(rows), Towards()(rows).numpy())


def test_actors_of_another_run_and_files_that_are_none_are_refused(pushing, tmp_path, capsys):
    glocal.save_actor(tmp_path / "narrow.onnx", Towards(), 7)
    (tmp_path / "text.onnx").write_text("nothing")
    glocal.save_actor(tmp_path / "one.onnx", One(), 18)
    for name, said in (
        ("one", "expected (2, 2)"),
        ("narrow", "takes 7 numbers, expected 18 of what models see"),
        ("text", "is no network that onnxruntime can run"),
        ("absent", "there is no file"),
    ):
        assert said in refused(capsys, "evaluate", pushing, "--actor", tmp_path / f"{name}.onnx", "--episodes", 2)
