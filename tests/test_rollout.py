"""`glocal export` and `glocal rollout`: a policy leaves the house and does what it did in it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from glocal.cli import main
from glocal.core.nets import full_precision
from glocal.data import mappings
from glocal.data.formats import open_dataset
from glocal.data.propose_robot import propose_robot
from glocal.data.streams import limits
from glocal.deploy.controllers import learned
from glocal.deploy.runner import BundleError, Policy, PolicyError
from glocal.pipeline.run import open_run
from tests.refusals import refused
from tests.robots import ID, robot_logs, seeing_logs

ONE = ("--threads", "1", "--processes", "1")


@pytest.fixture(scope="module")
def acting(tmp_path_factory) -> Path:
    """A run of a robot that is told deltas and a width, judged in its environment, and its bundle."""
    return _exported(tmp_path_factory.mktemp("acting"), "robot-debug", robot_logs, "--env", ID)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory) -> Path:
    """The same of one that sees two cameras, and whose local model remembers."""
    return _exported(tmp_path_factory.mktemp("seeing"), "robot-images-debug", seeing_logs)


@pytest.fixture(scope="module")
def pushing(tmp_path_factory) -> Path:
    """The same of a robot on Push-T."""
    return _exported(tmp_path_factory.mktemp("pushing"), "pusht-debug")


def _exported(folder: Path, preset: str, made: Any = None, *options: str) -> Path:
    named = () if made is None else ("--logs", str(made(folder / "logs")))
    main(["run", preset, "--run", str(folder / "run"), *named, *options, *ONE])
    main(["export", str(folder / "run"), "--out", str(folder / "bundle")])
    return folder


@pytest.mark.parametrize("folder", ["acting", "seeing", "pushing"])
def test_a_bundle_acts_as_the_policy_does_in_evaluations(folder, request):
    made = request.getfixturevalue(folder)
    run, policy = open_run(made / "run"), Policy(made / "bundle")
    rows = run.store.episode(len(run.store) - 1)
    with full_precision():
        controller = learned(run.codec, run.policy("policy"))
        next(controller)
        for t in range(8):
            seen = {name: np.asarray(rows[name][t]) for name in run.codec.reads}
            ours = controller.send([seen])[0]
            theirs = policy.advance({name: x[None].astype(_as(x)) for name, x in seen.items()})
            np.testing.assert_allclose(theirs, ours, atol=2e-6)


def _as(x: Any) -> Any:
    return x.dtype if x.dtype == np.uint8 else np.float32


def test_a_bundle_is_whole_and_says_what_it_is(seeing):
    bundle = seeing / "bundle"
    assert sorted(path.name for path in bundle.iterdir()) == ["README.md", "bundle.json", "policy.onnx", "runner.py"]
    spec = json.loads((bundle / "bundle.json").read_text())
    assert spec["needs"]["observation.images.top"] == [24, 32, 3]
    assert spec["parity"]["exact"] < 1e-5
    assert onnx.load(bundle / "policy.onnx").opset_import[0].version == spec["opset"]
    card = (bundle / "README.md").read_text()
    assert "| `observation.images.top` | 24 x 32 x 3 | top: all of it at 64 x 64 |" in card
    assert "| `action` | 0 to 2 | delta in 2 steps |" in card


def test_the_runner_runs_where_there_is_no_glocal_and_no_torch(seeing, tmp_path):
    shutil.copytree(seeing / "bundle", tmp_path / "bundle")
    script = """
        import sys
        class Nothing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("glocal", "torch", "cv2"):
                    raise ImportError(name)
        sys.meta_path.insert(0, Nothing())
        import numpy as np
        from runner import Policy
        policy = Policy(".")
        kinds = {3: np.uint8, 1: np.float32}
        seen = {name: np.zeros(shape, kinds[len(shape)]) for name, shape in policy.needs.items()}
        first, second = policy.act(seen), policy.act(seen)
        policy.reset()
        assert all((policy.act(seen)[name] == first[name]).all() for name in first)
        print(sorted(first), first["action"].shape)
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, '')\n" + textwrap.dedent(script)],
        cwd=tmp_path / "bundle", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "['action'] (4,)\n", done.stderr


def test_what_a_robot_is_told_is_in_its_own_units(acting):
    policy = Policy(acting / "bundle")
    told = policy.act({"observation.state": np.zeros(4), "observation.goal": np.zeros(3)})["action"]
    run = open_run(acting / "run")
    low, high = limits(run.config.task.mapping)
    expected = (low + (policy.action + 1) / 2 * (high - low)) / [2, 2, 2, 1]  # deltas over two steps of the logs
    np.testing.assert_allclose(told, expected)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"observation.goal": np.zeros(3)}, "observation.state is not sensed"),
        ({"observation.goal": np.zeros(3), "observation.state": np.zeros(5)}, r"has shape \(5,\), the logs had \(4,\)"),
        ({"observation.goal": np.full(3, np.nan), "observation.state": np.zeros(4)}, "goal holds numbers that are not"),
    ],
)
def test_what_is_not_sensed_as_in_the_logs_is_an_error(acting, seen, said):
    with pytest.raises(PolicyError, match=said):
        Policy(acting / "bundle").act(seen)


def test_pictures_of_another_kind_are_an_error(seeing):
    policy = Policy(seeing / "bundle")
    shown = {name: np.zeros(shape, np.uint8 if len(shape) == 3 else np.float32) for name, shape in policy.needs.items()}
    for wrong, said in (
        (np.zeros((24, 32, 3)), "expected pictures of bytes"),
        (np.zeros((32, 24, 3), np.uint8), "shape"),
    ):
        with pytest.raises(PolicyError, match=said):
            policy.act(shown | {"observation.images.top": wrong})


def test_a_careful_policy_changes_no_faster_than_recordings_did(acting):
    policy = Policy(acting / "bundle", careful=True)
    policy.spec["largest_change"] = [0.01] * 4
    rng = np.random.default_rng(0)
    last = None
    for _ in range(5):
        policy.act({"observation.state": rng.normal(size=4), "observation.goal": rng.normal(size=3)})
        if last is not None:
            assert np.abs(policy.action - last).max() <= 0.01 + 1e-6
        last = policy.action
    assert policy.held_back > 0


@pytest.mark.parametrize("folder", ["acting", "pushing"])
def test_a_rollout_succeeds_where_the_evaluation_did(folder, request, tmp_path):
    made = request.getfixturevalue(folder)
    main(["rollout", str(made / "bundle"), "--episodes", "2", "--no-careful", "--log", str(tmp_path / "log")])
    found = json.loads((tmp_path / "log" / "rollout.json").read_text())
    results = json.loads((made / "run" / "results.json").read_text())["policy"]
    count = results["success" if folder == "acting" else "pose"]
    assert (found["episodes"], found["success"]["n"]) == (2, 2)
    assert found["success"]["k"] <= count["k"]
    dataset = open_dataset(tmp_path / "log")
    assert len(dataset) == 2
    assert "next.success" in dataset.features


def test_a_rollout_does_what_the_evaluation_does(acting):
    from glocal.pipeline.real import open_robot
    from glocal.pipeline.rollout import environment_of

    run, policy = open_run(acting / "run"), Policy(acting / "bundle")
    theirs = environment_of(policy.spec, acting)
    ours = open_robot(run.config.task, run.config.env)
    controller = learned(run.codec, run.policy("policy"))
    next(controller)
    seen = ours.reset(3)
    theirs.reset(3)
    for _ in range(6):
        told = policy.act(theirs.observe())
        for _ in range(policy.hold):
            theirs.command(told)
        seen = ours.step(controller.send([seen])[0]).fields
        np.testing.assert_allclose(theirs.observe()["observation.state"], seen["state"], atol=1e-5)


def test_what_a_rollout_logs_can_be_trained_on(acting, tmp_path):
    main(["rollout", str(acting / "bundle"), "--episodes", "2", "--log", str(tmp_path / "log")])
    main(["data", "inspect", str(tmp_path / "log")])
    known = json.loads((tmp_path / "log" / "glocal.json").read_text())
    assert (known["fps"], known["success"]) == (10, "next.success")


def test_recorded_logs_say_how_far_the_policy_is_from_what_was_done(acting, capsys):
    main(["rollout", str(acting / "bundle"), "--robot", f"logs:{acting / 'logs'}", "--episodes", "2"])
    said = "".join(capsys.readouterr())
    assert "difference_to_recorded: [" in said
    assert "saturated: {'policy':" in said


def test_a_robot_of_ones_own_is_driven_and_stopped(acting, tmp_path, monkeypatch, capsys):
    (tmp_path / "arm_with_journal.py").write_text(
        textwrap.dedent("""
            import numpy as np
            from pathlib import Path

            class Arm:
                def __init__(self, journal):
                    self.journal = Path(journal)
                def observe(self):
                    return {"observation.state": np.zeros(4), "observation.goal": np.ones(3)}
                def command(self, told):
                    with self.journal.open("a") as file: file.write("told\\n")
                def stop(self):
                    with self.journal.open("a") as file: file.write("stop\\n")
        """)
    )
    monkeypatch.chdir(tmp_path)
    options = (
        "--robot",
        "arm_with_journal:Arm",
        "--options",
        f"journal={tmp_path / 'journal'}",
        "--control-steps",
        "3",
    )
    main(["rollout", str(acting / "bundle"), *options, "--control.hz", "40"])
    assert (tmp_path / "journal").read_text().split() == ["told"] * 12 + ["stop"]
    assert "success" not in "".join(capsys.readouterr())


def test_a_shadow_of_a_robot_that_knows_rewards_is_computed(acting, tmp_path, monkeypatch, capsys):
    (tmp_path / "arm_with_rewards.py").write_text(
        textwrap.dedent("""
            import numpy as np
            class Arm:
                reward, ended = 0.0, False
                def observe(self):
                    return {"observation.state": np.zeros(4), "observation.goal": np.ones(3)}
                def command(self, told):
                    self.reward += 1.0
                def stop(self): pass
            class Asked(Arm):
                def reward(self): return 1.0
        """)
    )
    monkeypatch.chdir(tmp_path)
    bundle, steps = str(acting / "bundle"), ("--control-steps", "3")
    main(["rollout", bundle, "--robot", "arm_with_rewards:Arm", "--control.shadow", *steps])
    main(["rollout", bundle, "--robot", "arm_with_rewards:Arm", *steps, "--log", str(tmp_path / "log")])
    rows = open_dataset(tmp_path / "log").episode(0, ["next.reward"])
    assert rows["next.reward"].ravel().tolist() == [2.0, 4.0, 6.0]
    assert "Asked.reward is <bound method" in refused(
        capsys, "rollout", bundle, "--robot", "arm_with_rewards:Asked", *steps
    )


def test_a_signal_ends_a_rollout_and_keeps_what_was_logged(acting, tmp_path):
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    main(["rollout", str(acting / "bundle"), "--episodes", "100000", "--log", str(tmp_path / "log")])
    found = json.loads((tmp_path / "log" / "rollout.json").read_text())
    assert 0 < found["episodes"] < 100000
    assert len(open_dataset(tmp_path / "log")) == found["episodes"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--robot", "logs:nowhere"), "nowhere"),
        (("--robot", "elsewhere"), "expected env, logs:FOLDER or MODULE:NAME"),
        (("--robot", "no_such_module:Arm"), "cannot be made"),
        (("--robot", "math:pi"), "cannot be made"),
        (("--robot", "collections:OrderedDict"), "is no robot"),
        (("--control.hz", "20"), "leave --control.hz and .shadow out"),
        (("--robot", "tests.arms:Still", "--control.hz", "12"), "no multiple of the policy's 10 control steps"),
        (("--robot", "tests.arms:Still", "--control.patience", "0.01"), "raise --control.patience"),
        (("--robot", "tests.arms:Half"), "a robot needs all of reset(seed), success and over"),
        (("--robot", "tests.arms:Still", "--episodes", "2"), "begins no episode by itself"),
        (("--robot", "tests.arms:Still", "--control.shadow", "--log", "log"), "a shadow does nothing"),
        (("--log", "/proc/log"), "/proc"),
        (("--control.patience", "-1"), "--control.patience is -1"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(acting, options, said, capsys):
    assert said in refused(capsys, "rollout", acting / "bundle", *options)


@pytest.mark.parametrize("options", [("--episodes", 13), ("--episodes", 2, "--seed", 11), ("--seed", 12)])
def test_recorded_episodes_that_are_not_there_are_not_played(acting, options, capsys):
    said = refused(capsys, "rollout", acting / "bundle", "--robot", f"logs:{acting / 'logs'}", *options)
    assert "there are 12 recorded episodes, numbered from 0" in said


def test_logs_at_another_rate_and_of_other_actions_are_refused(acting, tmp_path, capsys):
    logs = shutil.copytree(acting / "logs", tmp_path / "logs")
    known = propose_robot(open_dataset(logs))[0]
    mappings.save(logs / "glocal.json", replace(known, rate=5.0))
    assert "and 5 control steps, expected" in refused(capsys, "rollout", acting / "bundle", "--robot", f"logs:{logs}")
    part = replace(known.action[0], columns=(0, 1), low=(-1.0, -1.0), high=(1.0, 1.0))
    mappings.save(logs / "glocal.json", replace(known, action=(part,)))
    said = refused(capsys, "rollout", acting / "bundle", "--robot", f"logs:{logs}")
    assert "are 2 numbers, the policy's 4; mend its mapping" in said


def test_what_a_killed_export_has_left_is_removed(acting, tmp_path):
    left, own = tmp_path / ".bundle.999999999.part", tmp_path / ".other.999999999.part"
    left.mkdir()
    own.mkdir()
    main(["export", str(acting / "run"), "--out", str(tmp_path / "bundle")])
    assert not left.exists() and own.exists()


def test_an_error_keeps_what_was_logged_before_it(acting, tmp_path, capsys):
    options = ("--robot", "tests.arms:Failing", "--episodes", "3", "--control-steps", "4", "--log", tmp_path / "log")
    said = refused(capsys, "rollout", acting / "bundle", *options)
    assert "`observe` failed with ValueError: worn out; the 2 episodes until then are in" in said
    assert list(open_dataset(tmp_path / "log").lengths) == [4, 3]


def test_the_logs_of_a_rollout_are_replayed_by_their_own_mapping(acting, pushing, tmp_path, capsys):
    for name, made in (("acting", acting), ("pushing", pushing)):
        log = tmp_path / name
        main(["rollout", str(made / "bundle"), "--episodes", "2", "--control-steps", "8", "--log", str(log)])
        capsys.readouterr()
        main(["rollout", str(made / "bundle"), "--robot", f"logs:{log}", "--episodes", "2"])
        said = " ".join("".join(capsys.readouterr()).split())
        found = re.search(r"difference_to_recorded: \[(.*?)\]", said)
        assert found and "control_steps: 14" in said  # what the last of eight led to was not recorded
        assert max(float(x) for x in found[1].split(",")) < 0.02


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("rate", -10, "rate is -10.0, expected up to 1000"),
        ("hold", 0, "hold is 0, expected a whole number"),
        ("alarm", {"above": float("nan"), "memory": 0.7}, "alarm is"),
        ("largest_change", [-1, 0, 0, 0], "largest_change is"),
        ("needs", {}, "does not go together"),
        ("streams", None, "lacks or garbles"),
        ("state", [], "no state"),
    ],
)
def test_a_bundle_that_says_what_cannot_be_is_refused(acting, tmp_path, part, value, said):
    shutil.copytree(acting / "bundle", tmp_path / "bundle")
    spec = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(spec | {part: value}))
    with pytest.raises(BundleError, match=re.escape(said)):
        Policy(tmp_path / "bundle")
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps({k: v for k, v in spec.items() if k != part}))
    with pytest.raises(BundleError):
        Policy(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "banana"}, "banana"),
        ({"steps": 0}, "in 0 steps"),
        ({"low": [9e9] * 3}, "cannot be"),
        ({"low": [0.0]}, "go together"),
    ],
)
def test_a_bundle_whose_actions_cannot_be_is_refused(acting, tmp_path, change, said):
    shutil.copytree(acting / "bundle", tmp_path / "bundle")
    spec = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    spec["action"][0] |= change
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(spec))
    with pytest.raises(BundleError, match=said):
        Policy(tmp_path / "bundle")


def test_the_action_that_was_carried_out_is_found_again_and_remembered(acting, pushing):
    for made, seen in (
        (acting, {"observation.state": np.zeros(4), "observation.goal": np.ones(3)}),
        (pushing, {"observation.state": np.full(2, 200.0), "observation.image": np.zeros((64, 64, 3), np.uint8)}),
    ):
        policy = Policy(made / "bundle")
        told = policy.act(seen)
        np.testing.assert_allclose(policy.normalised(told, seen), policy.action, atol=1e-6)
        policy.did(np.full(len(policy.action), 0.25))
        assert (policy.state["action"] == 0.25).all()


def test_a_policy_trained_with_other_data_than_the_run_has_now_is_refused(acting, tmp_path, capsys):
    shutil.copytree(acting / "run", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"held_out": 0.5}))
    assert "another held_out" in refused(capsys, "export", tmp_path / "run", "--out", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_recorded_episode_without_a_control_step_is_passed_over(acting, tmp_path, capsys):
    robot_logs(tmp_path / "short", episodes=2, steps=1)
    main(["rollout", str(acting / "bundle"), "--robot", f"logs:{tmp_path / 'short'}", "--episodes", "2"])
    assert "difference_to_recorded" not in "".join(capsys.readouterr())


def test_push_t_is_not_told_deltas_as_if_they_were_targets(pushing, tmp_path, capsys):
    shutil.copytree(pushing / "bundle", tmp_path / "bundle")
    spec = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    spec["origin"]["logs"]["representation"] = "delta"
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(spec))
    assert "is told targets, and the robot of these logs a delta" in refused(capsys, "rollout", tmp_path / "bundle")


def test_a_bundle_without_an_environment_asks_for_a_robot(seeing, capsys):
    assert "name a robot" in refused(capsys, "rollout", seeing / "bundle")


def test_a_run_without_a_policy_and_a_folder_that_exists_are_refused(acting, tmp_path, capsys):
    assert "exists; name another folder" in refused(capsys, "export", acting / "run", "--out", acting)
    shutil.copytree(acting / "run", tmp_path / "run")
    (tmp_path / "run" / "stages" / "policy.json").unlink()
    said = refused(capsys, "export", tmp_path / "run", "--out", tmp_path / "bundle")
    assert "has no finished policy yet" in said
    shutil.copy(acting / "run" / "stages" / "policy.json", tmp_path / "run" / "stages")
    shutil.rmtree(tmp_path / "run" / "policy" / "last")
    assert "no trained policy" in refused(capsys, "export", tmp_path / "run", "--out", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_damaged_bundle_is_refused(acting, tmp_path, capsys):
    shutil.copytree(acting / "bundle", tmp_path / "bundle")
    with (tmp_path / "bundle" / "policy.onnx").open("ab") as file:
        file.write(b"more")
    assert "copy the whole folder again" in refused(capsys, "rollout", tmp_path / "bundle")


def test_more_is_surprising_where_the_robot_does_something_else(acting):
    policy = Policy(acting / "bundle")
    rng = np.random.default_rng(0)
    calm, wild = [], []
    for kept, jump in ((calm, 0.0), (wild, 1.0)):
        policy.reset()
        for _ in range(6):
            policy.act({"observation.state": jump * rng.uniform(-1, 1, 4), "observation.goal": np.zeros(3)})
            kept.append(policy.surprise)
    assert calm[0] == wild[0] == 0.0
    assert wild[-1] > calm[-1]


def test_beliefs_are_at_their_mean_when_deployed(seeing):
    policy = open_run(seeing / "run").policy("policy")
    obs = torch.randn(2, policy.surrogate.spec.obs_dim)
    belief = policy.surrogate.initial(obs).expected()
    assert torch.equal(belief.z.sample, belief.z.mean)
    assert torch.equal(belief.h, policy.surrogate.initial(obs).h)


def test_the_control_loops_benchmark_and_the_alarms_script_print_their_tables(acting):
    root = Path(__file__).parents[1]
    scripts = {
        "benchmarks/control.py": ("--seconds", "0.5", "--busy", "0"),
        "runs/surprise.py": ("--episodes", "1", "--kinds", "weak"),
    }
    for script, options in scripts.items():
        command = [sys.executable, "-c", RUN, str(root / script), str(acting / "bundle"), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3


RUN = "import runpy, sys, tests.robots; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""A script where the environment of these tests is known to Gymnasium."""
