"""Options that make no sense, over all verbs: each is refused in one sentence, before any work, with exit code 2."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from glocal.cli import main
from glocal.core.ranges import Range, range_of
from glocal.data import mapping
from glocal.models.policies.ppo import PPOConfig
from glocal.pipeline.config import Config, from_dict, to_dict
from glocal.pipeline.label.job import Job
from glocal.pipeline.presets import PRESETS

KEYPOINTS, IMAGES = "pusht-keypoints-debug", "pusht-debug"
RUN = (
    ("--seed -1", "--seed is -1, expected at least 0"),
    ("--seed 99999999999", "--seed is 99999999999, expected at least 0 and at most 2147483647"),
    ("--seed one", "--seed"),
    ("--seed 1.5", "--seed"),
    ("--threads 0", "--threads is 0"),
    ("--threads 100000", "--threads is 100000"),
    ("--processes 0", "--processes is 0"),
    ("--processes -2", "--processes is -2"),
    ("--held-out 1.5", "--held-out is 1.5, expected above 0 and below 1"),
    ("--held-out 0", "--held-out is 0.0"),
    ("--held-out nan", "--held-out is nan, expected a number"),
    ("--judge 1", "--judge is 1.0"),
    ("--judge -0.1", "--judge is -0.1"),
    ("--judge 0.95", "too few to hold out"),
    ("--device tpu", "--device"),
    ("--logs /nowhere/at/all", "there is nothing at /nowhere/at/all"),
    ("--logs {file}", "is in no format that is known here"),
    ("--logs {tmp}", "is in no format that is known here"),
    ("--task.control-steps 0", "--task.control-steps is 0"),
    ("--task.reach 0", "--task.reach is 0.0, expected above 0"),
    ("--task.reach -50", "--task.reach is -50.0"),
    ("--task.agent maybe", "maybe"),
    ("--play.control-steps 0", "--play.control-steps is 0"),
    ("--play.control-steps 30", "too few to hold out"),
    ("--play.goal-share 2", "--play.goal-share is 2.0"),
    ("--play.goal-share 0.7 --play.elsewhere-share 0.7", "expected at most 1 in all"),
    ("--play.bout 0", "--play.bout is 0.0"),
    ("--play.shake inf", "--play.shake is inf"),
    ("--world-fit.updates 0", "--world-fit.updates is 0"),
    ("--world-fit.batch 0", "--world-fit.batch is 0"),
    ("--world-fit.batch -3", "--world-fit.batch is -3"),
    ("--world-fit.lr 0", "--world-fit.lr is 0.0"),
    ("--world-fit.lr nan", "--world-fit.lr is nan"),
    ("--world-fit.warm-up 0", "--world-fit.warm-up is 0"),
    ("--world-fit.average 1", "--world-fit.average is 1.0"),
    ("--world-fit.clip 0", "--world-fit.clip is 0.0"),
    ("--world.context 0", "--world.context is 0"),
    ("--world.context 9", "--learn.warm-up is 4, expected at least --world.context, which is 9"),
    ("--world.size 9", "--world.size"),
    ("--world.sampling-steps 0", "--world.sampling-steps is 0"),
    ("--world.sigma-min 9", "expected less than --world.sigma-max"),
    ("--world.scales 0", "--world.scales is 0"),
    ("--surrogate.width 0", "--surrogate.width is 0"),
    ("--surrogate.blocks -1", "--surrogate.blocks is -1"),
    ("--surrogate.smoothing -1", "--surrogate.smoothing is -1.0"),
    ("--surrogate-length 1", "--surrogate-length is 1, expected at least 2"),
    ("--surrogate-length 0", "--surrogate-length is 0"),
    ("--matching.weight -1", "--matching.weight is -1.0"),
    ("--matching.batch 0", "--matching.batch is 0"),
    ("--agent.width 0", "--agent.width is 0"),
    ("--agent.first-std 0.01", "expected more than --agent.least-std"),
    ("--learn.gamma -1", "--learn.gamma is -1.0"),
    ("--learn.gamma 1", "--learn.gamma is 1.0, expected at least 0 and below 1"),
    ("--learn.lam 1.1", "--learn.lam is 1.1"),
    ("--learn.envs 0", "--learn.envs is 0"),
    ("--learn.envs 10000000000", "--learn.envs is 10000000000"),
    ("--learn.horizon 0", "--learn.horizon is 0"),
    ("--learn.horizon 9", "--learn.horizon is 9, expected at most --learn.episode, which is 8"),
    ("--learn.imitation 1", "--learn.imitation is 1 with no --warm-start"),
    ("--learn.critics-first 12", "--learn.critics-first is 12, expected less than the 12 iterations"),
    ("--learn.warm-up 0", "--learn.warm-up is 0"),
    ("--learn.warm-up 3", "--learn.warm-up is 3, expected at least --world.context, which is 4"),
    ("--learn.betas 0.9 1.0", "--learn.betas is 1.0"),
    ("--learn.betas 0.9", "--learn.betas"),
    ("--learn.actor-minibatches 1000", "expected at most the 32 rows of a rollout"),
    ("--learn.critic-minibatches 1000", "expected at most the 32 rows of a rollout"),
    ("--learn.target-entropy 0", "--learn.target-entropy is 0.0"),
    ("--learn.replay 0", "--learn.replay is 0"),
    ("--learn.replay 3", "--learn.replay is 3, expected at least --learn.envs, which is 8"),
    ("--learn.refresh-size 0", "--learn.refresh-size is 0"),
    ("--learn.step 0.9", "--learn.step is 0.9, expected at most --learn.longest-step"),
    ("--learn.temperature 0", "--learn.temperature is 0.0"),
    ("--learn.link magic", "--learn.link"),
    ("--learn.iterations 0", "--learn.iterations is 0"),
    ("--policy-seed -1", "--policy-seed is -1"),
    ("--warm-start -1", "--warm-start is -1"),
    ("--cloning.window 1", "--cloning.window is 1, expected at least 2"),
    ("--cloning.chunk 0", "--cloning.chunk is 0"),
    ("--cloning.forget nan", "--cloning.forget is nan"),
    ("--mppi.temperature 0", "--mppi.temperature is 0.0"),
    ("--gates.world 0 0.1", "--gates.world is 0.0"),
    ("--probe.width 0", "--probe.width is 0"),
    ("--probe.channels 6", "--probe.channels is 6, expected a multiple of 4"),
    ("--watch.every -1", "--watch.every is -1"),
    ("--watch.keep best --watch.every 0", "needs looks"),
    ("--watch.keep trusted", "needs a judge"),
    ("--watch.episodes 0", "--watch.episodes is 0"),
    ("--watch.first-seed 1000001", "name the same initial states"),
    ("--evaluate.episodes 0", "--evaluate.episodes is 0"),
    ("--evaluate.filmed -1", "--evaluate.filmed is -1"),
    ("--evaluate.first-seed -5", "--evaluate.first-seed is -5"),
    ("--clock.checkpoint-seconds -1", "--clock.checkpoint-seconds is -1.0"),
    ("--clock.log-every 0", "--clock.log-every is 0"),
    ("--run {file}", "cannot write to"),
    ("--run {file}/below", "cannot write to"),
    ("--run {long}", "cannot write to"),
    ("--run /proc/nothing", "cannot write to"),
    ("--learn.horizont 3", "Unrecognized options: --learn.horizont"),
    ("--write", "Unrecognized options: --write"),
    ("--learn.horizon", "--learn.horizon"),
    ("surplus", "surplus"),
)
OTHER = (
    ("run pusht-grid-debug --run {tmp}/new --codec.width 0", "--codec.width is 0"),
    ("run pusht-grid-debug --run {tmp}/new --codec.width 9", "--codec.width is 9"),
    ("run pusht-grid-debug --run {tmp}/new --codec.worst-pixels 5000", "--codec.worst-pixels is 5000"),
    ("run pusht-grid-debug --run {tmp}/new --codec.side 5", "--codec.side"),
    ("run pusht-motion-debug --run {tmp}/new --world-fit.shards 3", "which does not divide its batch of 16"),
    ("run robot-ego-debug --run {tmp}/new --logs {logs} --codec.led 20", "expected less than --codec-fit.updates"),
    ("run robot-ego-debug --run {tmp}/new --logs {logs} --codec.view 180", "--codec.view is 180.0"),
    ("run pusht-dreamer-debug --run {tmp}/new --world.back 9", "--world.back is 9, expected at most --world.window"),
    ("run pusht-dreamer-debug --run {tmp}/new --world.bootstrap 0", "leaves longer strides than the finest untrained"),
    ("run pusht-dreamer-debug --run {tmp}/new --codec.perceptual 0.2", "--codec.perceptual needs the"),
    ("run pusht-motion-debug --run {tmp}/new --matching.weight 1", "this world answers pictures"),
    ("run pusht-motion-debug --run {tmp}/new --task.no-images", "does not take what the codec makes"),
    ("run pusht-grid-debug --run {tmp}/new --task.no-images", "does not take what the codec makes"),
    ("run pusht-grid-debug --run {tmp}/new --task.no-agent --matching.weight 1", "nothing tells where the agent is"),
    ("run pusht-debug --run {tmp}/new --codec.width 6", "--codec.width is 6, expected a multiple of 4"),
    ("run pusht-debug --run {tmp}/new --codec.points 1", "--codec.points is 1"),
    ("run pusht-debug --run {tmp}/new --codec.threshold 1", "--codec.threshold is 1.0"),
    ("run pusht-keypoints-rssm-debug --run {tmp}/new --surrogate.recurrent 0", "--surrogate.recurrent is 0"),
    ("run pusht-keypoints-rssm-debug --run {tmp}/new --surrogate.obs-std 0", "--surrogate.obs-std is 0.0"),
    ("run pusht-keypoints-rssm-debug --run {tmp}/new --surrogate.classes 1", "--surrogate.classes is 1"),
    ("compare pusht-keypoints-debug --run {tmp}/new --steps 0", "--steps is 0.0"),
    ("compare pusht-keypoints-debug --run {tmp}/new --steps nan", "--steps is nan"),
    ("compare pusht-keypoints-debug --run {tmp}/new --seeds -1", "--seeds is -1"),
    ("compare pusht-keypoints-debug --run {tmp}/new --seeds 1 1", "--seeds are 1 1, expected at least one, each once"),
    ("compare pusht-keypoints-debug --run {tmp}/new --methods ppo ppo", "--methods are ppo ppo"),
    ("compare pusht-keypoints-debug --run {tmp}/new --methods", "--methods are none"),
    ("compare pusht-keypoints-debug --run {tmp}/new --methods magic", "there is no method 'magic'"),
    ("compare pusht-keypoints-debug --run {tmp}/new --ppo.gamma 2", "--ppo.gamma is 2.0"),
    ("compare pusht-keypoints-debug --run {tmp}/new --ppo.minibatches 100000 --methods ppo", "minibatches is 100000"),
    ("compare pusht-keypoints-debug --run {tmp}/new --runs {tmp}/none", "is no run"),
    ("compare pusht-keypoints-debug --run {file}", "cannot write to"),
    ("compare nowhere", "is not a preset"),
    ("status {tmp}/none", "neither a preset"),
    ("status {tmp}", "is no run"),
    ("evaluate {file}", "neither a preset"),
    ("report pusht-keypoints-debug --run {tmp}/none", "is no run"),
    ("diagnose pusht-keypoints-debug --run {tmp}/none", "is no run"),
    ("evaluate pusht-keypoints-debug --run {tmp}/new --replace", "takes no --replace"),
    ("train", "needs one of codec"),
    ("train everything pusht", "needs one of codec"),
    ("collect", "needs a preset"),
    ("data", "inspect"),
    ("data look {tmp}", "look"),
    ("data inspect /nowhere", "there is nothing at /nowhere"),
    ("data inspect {logs} --write True", "True"),
    ("data preview {logs} --out {tmp}/x.png --episodes 0", "--episodes is 0"),
    ("data preview {logs} --out {tmp}/x.png --columns 0", "--columns is 0"),
    ("data preview {logs} --out {tmp}/x.doc", "is neither a png"),
    ("data doctor {logs} --context 0", "--context is 0"),
    ("data doctor {logs} --updates 0", "--updates is 0"),
    ("data doctor {logs} --processes 0", "--processes is 0"),
    ("data doctor {logs} --run {tmp}", "is no run"),
    ("data convert {logs} {tmp}/out --fps 0", "--fps is 0.0"),
    ("data convert {logs} {tmp}/out --fps nan", "--fps is nan"),
    ("data convert {logs} {tmp}/out --fps -10", "--fps is -10.0"),
    ("data convert {logs} {tmp}/out --codec mpeg1", "--codec"),
    ("data convert {logs} {file}/below --fps 10", "cannot write to"),
    ("data merge {logs} --out {tmp}/out --codec none", "--codec"),
    ("data split {logs} --first {tmp}/a --second {tmp}/b --share 0", "--share is 0.0"),
    ("data split {logs} --first {tmp}/a --second {tmp}/b --share 1.5", "--share is 1.5"),
    ("data split {logs} --first {tmp}/a --second {tmp}/b --seed -1", "--seed is -1"),
    ("data export {tmp} {tmp}/out", "is no run"),
    ("data export {tmp} {tmp}/out --imagined -1", "--imagined is -1"),
    ("data export {tmp} {tmp}/out --control-steps -1", "--control-steps is -1"),
    ("data label goal {logs} {tmp}/out --goals 0:0 --held-out 1.5", "--held-out is 1.5"),
    ("data label goal {logs} {tmp}/out --goals 0:0 --success-within 0", "--success-within is 0.0"),
    ("data label goal {logs} {tmp}/out --goals 0:0 --updates 0", "--updates is 0"),
    ("data label goal {logs} {tmp}/out --goals 0:0 --preset none --fps 10", "is no preset of images"),
    ("data label table {logs} {tmp}/out --file {tmp}/none --seed -1", "--seed is -1"),
    ("data label table {logs} {tmp}/out --file {tmp}/none --threads 0", "--threads is 0"),
    ("data label classifier {logs} {tmp}/out --marks {tmp}/marks --port 70000", "--port is 70000"),
    ("data label tracker {logs} {tmp}/out --goal 0:0 --colour 300 0 0", "--colour is 300"),
    ("data label tracker {logs} {tmp}/out --goal 0:0 --colour 1 0 0 --tolerance 0", "--tolerance is 0.0"),
    ("data label tracker {logs} {tmp}/out --goal 0:0 --colour 1 0 0 --covered 2", "--covered is 2.0"),
    ("data label column {logs} {tmp}/out --name reward --success-above nan", "--success-above is nan"),
    ("data label column {logs} {tmp}/out --name nothing --fps 10", "has no 'nothing'"),
)
MAPPINGS = (
    ({"reach": 0.0}, "reach is 0.0, expected above 0"),
    ({"reach": -1.0}, "reach is -1.0"),
    ({"reach": float("nan")}, "reach is nan"),
    ({"action_columns": (-1, 0)}, "action_columns is -1"),
    ({"state_columns": (1, 1)}, "state_columns are (1, 1), expected two different ones"),
    ({"picture": (0, 32)}, "picture is 0"),
    ({"fps": 0.0}, "fps is 0.0"),
    ({"rate": 0.0}, "rate is 0.0"),
    ({"rate": 20.0}, "rate is 20 control steps a second, expected at most the 10 of fps"),
    ({"size": 0}, "size is 0"),
    ({"crop": (0, 0, 0, 9)}, "crop is 0"),
    ({"crop": (-1, 0, 9, 9)}, "crop is -1"),
    ({"low": (0.0, 512.0)}, "high is (512.0, 512.0), expected more than low"),
    ({"high": (float("inf"), 1.0)}, "high is inf"),
    ({"leave_out": (-1,)}, "leave_out is -1"),
)


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """A folder that is no run and no dataset, a file in it, a small dataset, and a name too long for a file."""
    tmp = tmp_path_factory.mktemp("hostile")
    (tmp / "file").write_text("mine")
    logs = tmp_path_factory.mktemp("logs")
    for number in range(4):
        frames = np.random.default_rng(number).integers(0, 255, (20, 32, 32, 3), np.uint8)
        np.savez(logs / f"{number}.npz", image=frames, action=np.ones((20, 2)), reward=np.zeros(20))
    return {"tmp": tmp, "file": tmp / "file", "logs": logs, "long": tmp / ("x" * 300)}


def refused(capsys, places: dict[str, Path], line: str) -> str:
    """The sentence that comes back; nothing may be left behind."""
    before = sorted(path for name in ("tmp", "logs") for path in places[name].rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main([word.format(**places) for word in line.split(" ")])
    assert stopped.value.code == 2
    assert sorted(path for name in ("tmp", "logs") for path in places[name].rglob("*")) == before
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("glocal: ") and said.count("glocal: ") == 1 and "Traceback" not in said, said
    return said


@pytest.mark.parametrize("options, sentence", RUN)
def test_a_run_is_not_begun_with_options_that_make_no_sense(capsys, places, options, sentence):
    own = "" if "--run " in options else " --run {tmp}/new"
    assert sentence in refused(capsys, places, f"run {KEYPOINTS}{own} {options}")


@pytest.mark.parametrize("line, sentence", OTHER)
def test_no_verb_takes_options_that_make_no_sense(capsys, places, line, sentence):
    assert sentence in refused(capsys, places, line)


@pytest.mark.parametrize("option", ["--run", "--device", "--seed"])
def test_an_empty_value_is_refused(capsys, places, option):
    with pytest.raises(SystemExit) as stopped:
        main(["run", KEYPOINTS, option, ""])
    assert stopped.value.code == 2 and f"{option} needs a value" in capsys.readouterr().err


@pytest.mark.parametrize("changes, sentence", MAPPINGS)
def test_a_mapping_that_cannot_be_is_refused_wherever_it_is_read(capsys, places, tmp_path, changes, sentence):
    good = mapping.Mapping("image", (32, 32), None, "action", 10.0, 5.0, representation="delta", crop=(0, 0, 32, 32))
    logs = tmp_path / "logs"
    logs.mkdir()
    for path in places["logs"].glob("*.npz"):
        (logs / path.name).write_bytes(path.read_bytes())
    (logs / mapping.NAME).write_text(json.dumps({**mapping.to_dict(good), **changes}))
    found = refused(capsys, {**places, "logs": logs}, "data doctor {logs}")
    assert sentence in found and mapping.NAME in found


def unranged(kind: Any, name: str = "") -> list[str]:
    """Numbers among the options of a dataclass that have no range."""
    found = []
    for one in fields(kind):
        hint = get_type_hints(kind, include_extras=True)[one.name]
        below = [part for part in (hint, *get_args(hint)) if isinstance(part, type) and is_dataclass(part)]
        for part in below:
            found += unranged(part, f"{name}{one.name}.")
        if not below and {int, float} & set(_leaves(hint)) and not isinstance(range_of(hint), Range):
            found.append(f"{name}{one.name}")
    return found


def _leaves(hint: Any) -> list[Any]:
    parts = [part for part in get_args(hint) if not isinstance(part, Range | int | str)]
    return [leaf for part in parts for leaf in _leaves(part)] if parts else [hint]


@pytest.mark.parametrize("kind", [Config, Job, mapping.Mapping, PPOConfig])
def test_every_number_among_the_options_has_a_range(kind):
    assert unranged(kind) == []


def test_every_preset_is_within_the_ranges_and_survives_json():
    from glocal.pipeline.check import check

    for config in PRESETS.values():
        check(from_dict(json.loads(json.dumps(to_dict(config))), "a test"))
