"""LeRobot's plug-in does what a bundle's runner does. What needs LeRobot itself is tested where that is installed."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot_policy_glocal.bridge import PACE, Bridge, calls, features, images, load_runner, observations, told

from glocal.cli import main
from glocal.deploy.runner import Policy
from tests.robots import seeing_logs

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "lerobot_policy_glocal" / "src"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The policy of an arm with joints and two cameras, that is told deltas and a width, 2 calls a control step."""
    folder = tmp_path_factory.mktemp("arm")
    logs = seeing_logs(folder / "logs", leave_out=("observation.goal",))
    one = ("--threads", "1", "--processes", "1")
    main(["run", "robot-images-debug", "--run", str(folder / "run"), "--logs", str(logs), *one])
    main(["export", str(folder / "run"), "--out", str(folder / "bundle")])
    return folder / "bundle"


def sensed(seed: int) -> dict[str, Any]:
    """What the arm senses, as the runner takes it."""
    rng = np.random.default_rng(seed)
    pictures = {f"observation.images.{name}": rng.integers(0, 256, (24, 32, 3), np.uint8) for name in ("top", "side")}
    return {"observation.state": rng.normal(size=4).astype(np.float32)} | pictures


def batched(*rows: dict[str, Any]) -> dict[str, Any]:
    """The same as LeRobot hands it over, with a key that no policy of ours reads."""
    batch: dict[str, Any] = {"task": [""] * len(rows)}
    for name in rows[0]:
        column = torch.from_numpy(np.stack([row[name] for row in rows]))
        batch[name] = column.permute(0, 3, 1, 2).float() / 255 if "images" in name else column
    return batch


def test_each_call_gets_the_runners_action_and_the_policy_acts_once_a_control_step(bundle):
    bridge, policy = Bridge(bundle), Policy(bundle, careful=True)
    for step in range(5):
        expected = policy.act(sensed(2 * step))["action"]
        for call in range(2):
            action = bridge.step(batched(sensed(2 * step + call)))
            assert (action.shape, action.dtype) == ((1, 4), torch.float32)
            np.testing.assert_array_equal(action[0].numpy(), expected.astype(np.float32))


def test_a_reset_forgets_what_was_seen_and_what_is_still_to_be_told(bundle):
    bridge = Bridge(bundle)
    first = [bridge.step(batched(sensed(i))) for i in range(3)]
    bridge.reset()
    assert all(torch.equal(bridge.step(batched(sensed(i))), action) for i, action in enumerate(first))


def test_rows_of_a_batch_do_not_know_of_each_other(bundle):
    together, first, second = Bridge(bundle), Bridge(bundle), Bridge(bundle)
    for i in range(4):
        one, other = sensed(i), sensed(100 + i)
        alone = torch.cat([first.step(batched(one)), second.step(batched(other))])
        assert torch.equal(together.step(batched(one, other)), alone)


def test_the_number_of_rows_changes_with_an_episode_only(bundle):
    bridge = Bridge(bundle)
    bridge.chunk(batched(sensed(0), sensed(1)))
    with pytest.raises(ValueError, match="has 1 rows, in this episode it had 2"):
        bridge.chunk(batched(sensed(2)))
    bridge.reset()
    assert bridge.chunk(batched(sensed(2))).shape == (1, 2, 4)


def test_at_another_rate_deltas_add_up_to_the_same_and_targets_stay(bundle):
    logged, faster = Bridge(bundle), Bridge(bundle, fps=60)
    ours, theirs = (one.chunk(batched(sensed(0)))[0] for one in (faster, logged))
    assert (len(ours), len(theirs)) == (6, 2)
    torch.testing.assert_close(ours[:, :3].sum(0), theirs[:, :3].sum(0))
    torch.testing.assert_close(ours[0, 3], theirs[0, 3])


@pytest.mark.parametrize("fps", [25, 5, 0])
def test_a_rate_that_is_no_multiple_of_the_policys_is_refused(bundle, fps):
    with pytest.raises(ValueError, match="expected a multiple of the policy's 10 control steps"):
        Bridge(bundle, fps)


def test_calls_of_a_control_step():
    assert [calls(30, 10), calls(10, 10), calls(100 / 3, 100 / 9)] == [3, 1, 3]


@pytest.mark.parametrize(("rate", "warnings"), [(20, 0), (22, 0), (30, 1), (15, 1)])
def test_calls_at_another_rate_than_the_logs_are_warned_of_once(bundle, caplog, monkeypatch, rate, warnings):
    bridge, ticks = Bridge(bundle), count()
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks) / rate)
    for _ in range(3 * PACE):
        bridge.step(batched(sensed(0)))
    assert caplog.text.count("expected 20: set --fps=20") == warnings


def test_surprise_is_warned_of_once_an_episode(bundle, caplog):
    bridge = Bridge(bundle)
    bridge.policies[0].alarm = -np.inf
    for _ in range(2):
        bridge.reset()
        for _ in range(6):
            bridge.step(batched(sensed(0)))
    warned = [record for record in caplog.records if "unlike the recorded" in record.message]
    assert [record.levelno for record in warned] == [logging.WARNING] * 2


def test_every_byte_of_a_picture_survives_lerobots_floats():
    bytes_ = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    expected = bytes_.permute(0, 2, 3, 1).numpy()
    for given in (bytes_, bytes_.float() / 255, bytes_.double() / 255):
        found = images("top", given)
        assert (found.dtype, found.shape) == (np.uint8, (1, 16, 16, 3))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [255.0, -1.0, float("nan")])
def test_pictures_that_are_not_from_0_to_1_are_refused(value):
    with pytest.raises(ValueError, match=r"top ranges from .* expected 0 to 1"):
        images("top", torch.full((1, 3, 4, 4), value))


def test_a_picture_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"expected \(batch, channels, height, width\)"):
        images("top", torch.zeros(3, 4, 4))


def test_rows_have_what_the_policy_needs_and_nothing_else():
    batch = {"observation.state": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "task": ["", ""], "extra": torch.zeros(5)}
    first, second = observations(batch, {"observation.state": (2,), "missing": (1,)})
    assert list(first) == ["observation.state"]
    assert (first["observation.state"].tolist(), second["observation.state"].tolist()) == ([1, 2], [3, 4])


def test_features_with_different_numbers_of_rows_are_refused():
    with pytest.raises(ValueError, match="different numbers of rows"):
        observations({"a": torch.zeros(2, 3), "b": torch.zeros(1, 3)}, {"a": (3,), "b": (3,)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"observation.state": None}, "observation.state is not sensed"),
        ({"observation.state": torch.zeros(1, 6)}, r"has shape \(6,\), the logs had \(4,\)"),
        ({"observation.images.top": torch.zeros(1, 3, 48, 64)}, r"has shape \(48, 64, 3\), the logs had \(24, 32, 3\)"),
        ({"observation.state": torch.full((1, 4), torch.nan)}, "not finite"),
    ],
)
def test_the_runner_refuses_what_is_not_as_in_the_logs(bundle, change, said):
    batch = {name: x for name, x in (batched(sensed(0)) | change).items() if x is not None}
    bridge = Bridge(bundle)
    with pytest.raises(bridge.runner.PolicyError, match=said):
        bridge.step(batch)


def test_features_are_told_to_lerobot_as_it_names_them():
    needs = {"observation.images.top": (24, 32, 3), "observation.state": (4,), "observation.environment_state": (16,)}
    assert features(needs) == {
        "observation.images.top": ("VISUAL", (3, 24, 32)),
        "observation.state": ("STATE", (4,)),
        "observation.environment_state": ("ENV", (16,)),
    }


def test_a_policy_that_commands_two_features_is_refused():
    assert told({"action": [{"feature": "action"}, {"feature": "action"}]}) == "action"
    with pytest.raises(ValueError, match=r"commands action\.arm, action\.base"):
        told({"action": [{"feature": "action.base"}, {"feature": "action.arm"}]})


@pytest.mark.parametrize("missing", ["runner.py", "bundle.json"])
def test_a_folder_that_is_no_bundle_is_refused(bundle, tmp_path, missing):
    shutil.copytree(bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {missing}; write a bundle with `glocal export"):
        load_runner(tmp_path / "bundle")


def test_the_bridge_needs_neither_lerobot_nor_glocal():
    script = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); sys.modules |= dict.fromkeys(['lerobot', 'glocal']); "
    subprocess.run([sys.executable, "-I", "-c", script + "import lerobot_policy_glocal.bridge"], check=True)


@pytest.fixture
def prepared(bundle, tmp_path) -> Path:
    """A copy of the bundle with what LeRobot wants to find."""
    pytest.importorskip("lerobot")
    from lerobot_policy_glocal.__main__ import prepare

    prepare(Path(shutil.copytree(bundle, tmp_path / "bundle")))
    return tmp_path / "bundle"


def test_lerobots_own_factories_load_a_bundle_that_acts_as_its_runner(prepared):
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies import get_policy_class, make_pre_post_processors
    from lerobot.policies.utils import prepare_observation_for_inference

    config = PreTrainedConfig.from_pretrained(prepared)
    model = get_policy_class("glocal").from_pretrained(prepared, config=config)
    before, after = make_pre_post_processors(config, str(prepared))
    runner = Policy(prepared, careful=True)
    model.reset()
    for i in range(6):
        if i % 2 == 0:
            expected = runner.act(sensed(i))["action"]
        with torch.inference_mode():
            seen = prepare_observation_for_inference(dict(sensed(i)), torch.device("cpu"), "reach", "fakearm")
            action = after(model.select_action(before(seen)))
        np.testing.assert_array_equal(action[0].numpy(), expected.astype(np.float32))


def test_lerobots_rollout_tells_an_arm_what_the_runner_says(prepared, tmp_path):
    script = "import lerobot_policy_glocal, tests.fakearm; from lerobot.scripts.lerobot_rollout import main; main()"
    options = [
        f"--policy.path={prepared}", "--fps=20", "--duration=1", "--return_to_initial_position=false",
        "--robot.type=fakearm", f"--robot.journal={tmp_path / 'journal.npz'}", f"--robot.calibration_dir={tmp_path}",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, *options],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{SOURCE}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    journal = np.load(tmp_path / "journal.npz")
    runner = Policy(prepared, careful=True)
    assert 4 <= len(journal["told"]) <= 21
    for i, action in enumerate(journal["told"]):
        names = {"observation.state": "state", "observation.images.top": "top", "observation.images.side": "side"}
        if i % 2 == 0:  # the first observation is LeRobot's, for the position to return to
            expected = runner.act({name: journal[short][i + 1] for name, short in names.items()})["action"]
        np.testing.assert_allclose(action, expected, atol=1e-6)


def test_lerobot_is_told_that_it_cannot_train_nor_download(prepared):
    from lerobot.configs import PreTrainedConfig
    from lerobot_policy_glocal.modeling_glocal import GlocalPolicy

    model = GlocalPolicy.from_pretrained(prepared)
    for call in (lambda: model.forward({}), model.get_optim_params, model.config.get_optimizer_preset):
        with pytest.raises(NotImplementedError, match="glocal trains its policies itself"):
            call()
    with pytest.raises(FileNotFoundError, match="none is downloaded"):
        GlocalPolicy.from_pretrained("somebody/policy")
    with pytest.raises(ValueError, match=r"name a bundle with --policy\.path"):
        GlocalPolicy(PreTrainedConfig.from_pretrained(prepared))


def test_what_lerobot_saves_is_the_bundle(prepared, tmp_path):
    from lerobot_policy_glocal.modeling_glocal import GlocalPolicy

    GlocalPolicy.from_pretrained(prepared).save_pretrained(tmp_path / "saved")
    again = GlocalPolicy.from_pretrained(tmp_path / "saved")
    assert again.bridge.chunk(batched(sensed(0))).shape == (1, 2, 4)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["fps"] == 20
