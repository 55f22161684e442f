"""`glocal run --after RUN --logs NEW`: what a run goes on with, what stays apart, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from glocal.cli import main
from glocal.data import mappings
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside
from glocal.data.store import EpisodeStore, write_episode
from glocal.pipeline import before, collect
from glocal.pipeline.build import build_codec
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.run import open_run, status
from glocal.pipeline.run_dir import split_recorded
from glocal.runtime import checkpoints
from glocal.runtime.files import UserError, read_json, write_json
from glocal.tasks.pusht import PushT, PushTConfig
from tests.refusals import refused
from tests.robots import ID, robot_logs, seeing_logs

ONE = ("--threads", "1", "--processes", "1")


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A run of a robot whose judge has episodes of its own, with the rollouts of its policy in `new`."""
    folder = tmp_path_factory.mktemp("first")
    logs = robot_logs(folder / "logs", episodes=20)
    judged = ("--judge", "0.2", "--watch.imagined", "4")
    main(["run", "robot-debug", "--run", str(folder / "run"), "--logs", str(logs), "--env", ID, *judged, *ONE])
    main(["export", str(folder / "run"), "--out", str(folder / "bundle")])
    main(["rollout", str(folder / "bundle"), "--episodes", "10", "--log", str(folder / "new")])
    return folder


@pytest.fixture(scope="module")
def second(first) -> Path:
    """The run that goes on from it."""
    main(["run", "--after", str(first / "run"), "--logs", str(first / "new"), *ONE])
    return first / "run-new"


@pytest.fixture
def copied(first, tmp_path) -> Path:
    """What may be spoilt."""
    shutil.copytree(first / "run", tmp_path / "run", symlinks=True)
    shutil.copytree(first / "new", tmp_path / "new")
    return tmp_path


def hashes(run: Path) -> list[str]:
    return [one["sha256"] for one in read_json(run / "data" / "index.json")["episodes"]]


def sides(run: Path) -> list[set[str]]:
    """Episodes that models are trained on, the judge's, and nobody's, each known by its own numbers."""
    store = EpisodeStore.open(run / "data")
    known = [json.dumps(store.episode(number)["state"].round(4).tolist()) for number in range(len(store))]
    return [{known[i] for i in part} for part in split_recorded(open_run(run).config, len(store))]


def weights(run: Path, kind: str) -> dict[str, Any]:
    return load_file(run / kind / "last" / "model.safetensors")


def test_no_episode_changes_sides(first, second):
    old, new = sides(first / "run"), sides(second)
    assert [len(part) for part in old] == [14, 4, 2]
    assert [len(part) for part in new] == [21, 6, 3]
    assert all(a < b for a, b in zip(old, new, strict=True))


def test_nothing_of_what_was_recorded_is_lost_or_changed(first, second):
    old, new = hashes(first / "run"), hashes(second)
    left = [one for one in new if one in set(old)]
    assert sorted(left) == sorted(old)
    assert len(new) == 30


def test_models_begin_where_they_were_and_go_on(first, second):
    run = first / "run"
    policy = weights(run, "policy")
    for kind, expected in (
        ("global", weights(run, "global")),
        ("judge", weights(run, "judge")),
        ("local", {k.removeprefix("surrogate."): x for k, x in policy.items() if k.startswith("surrogate.")}),
        ("policy", {k.removeprefix("actor."): x for k, x in policy.items() if k.startswith("actor.")}),
        (
            "cloning",
            {k.removeprefix("actor."): x for k, x in weights(run, "cloning").items() if k.startswith("actor.")},
        ),
    ):
        begun = weights(second / "before", kind)
        assert begun.keys() == expected.keys()
        assert all((begun[name] == x).all() for name, x in expected.items())
    now, then = weights(second, "global"), weights(run, "global")
    assert any((now[name] != x).any() for name, x in then.items())
    far = max(float((now[name] - x).abs().max()) for name, x in then.items())
    assert far < 0.05  # a few updates from where it was, and not from where a new model begins
    assert all((weights(second, "codec")[name] == x).all() for name, x in weights(run, "codec").items())


@pytest.mark.parametrize("kind", ["global", "local", "cloning", "policy"])
def test_what_a_stage_begins_with_decides_what_it_comes_to(first, second, tmp_path, kind):
    """The same data without the weights of the run before lead elsewhere."""
    shutil.copytree(second, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "before" / kind)
    write_json(tmp_path / "run" / "stages" / "collect.json", _without(tmp_path / "run", kind))
    main(["train", kind, str(tmp_path / "run"), "--replace"])
    now, then = weights(tmp_path / "run", kind), weights(second, kind)
    assert any((now[name] != x).any() for name, x in then.items())


def _without(run: Path, kind: str) -> dict[str, Any]:
    stamp = read_json(run / "stages" / "collect.json")
    stamp["files"] = {name: x for name, x in stamp["files"].items() if not name.startswith(f"before/{kind}/")}
    return stamp


def test_it_takes_less_and_the_next_one_as_much(first, second, tmp_path):
    old, new = open_run(first / "run").config, open_run(second).config
    assert new.world_fit.updates == max(1, round(0.3 * old.world_fit.updates))
    assert new.learn.iterations == max(1, round(0.3 * old.learn.iterations))
    logs = robot_logs(tmp_path / "more", episodes=5, seed=3)
    main(["run", "--after", str(second), "--logs", str(logs), "--run", str(tmp_path / "third"), *ONE])
    third = open_run(tmp_path / "third")
    assert third.config.world_fit == new.world_fit
    assert all(a <= b for a, b in zip(sides(second), sides(tmp_path / "third"), strict=True))
    assert len(third.store) == 35


def test_it_is_done_once_whatever_becomes_of_the_run_before(first, second, copied, capsys):
    main(["run", "--after", str(first / "run"), "--logs", str(first / "new"), *ONE])
    assert "policy: done before, skipped" in "".join(capsys.readouterr())
    main(["run", "--after", str(copied / "run"), "--logs", str(copied / "new"), *ONE])
    shutil.rmtree(copied / "run")
    assert {one.state for one in status(open_run(copied / "run-new")).values()} == {"done"}


def test_what_was_taken_stands_when_the_run_before_is_trained_again(copied, capsys):
    main(["run", "--after", str(copied / "run"), "--logs", str(copied / "new"), *ONE])
    main(["train", "policy", str(copied / "run"), "--policy-seed", "5", "--replace"])
    assert status(open_run(copied / "run-new"))["collect"].state == "done"
    shutil.copytree(copied / "run", copied / "other", symlinks=True)
    other = ("--logs", copied / "new", "--run", copied / "run-new", *ONE)
    assert "this would set aside" in refused(capsys, "run", "--after", copied / "other", *other)


def test_what_was_cut_off_after_the_data_were_whole_goes_on(copied, monkeypatch, capsys):
    from glocal.pipeline import run as running

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cuts, pytest.raises(SystemExit):
        cuts.setattr(running, "stamped", cut)
        main(["run", "--after", str(copied / "run"), "--logs", str(copied / "new"), *ONE])
    made = hashes(copied / "run-new")
    main(["run", str(copied / "run-new")])
    assert hashes(copied / "run-new") == made
    assert {one.state for one in status(open_run(copied / "run-new")).values()} == {"done"}


@pytest.mark.parametrize("cut", ["take_over", "copy_episodes"])
def test_what_was_cut_off_while_data_came_in_goes_on(copied, monkeypatch, cut):
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cuts, pytest.raises(SystemExit):
        cuts.setattr(before, cut, stop)
        main(["run", "--after", str(copied / "run"), "--logs", str(copied / "new"), *ONE])
    main(["run", str(copied / "run-new")])
    assert {one.state for one in status(open_run(copied / "run-new")).values()} == {"done"}
    assert len(hashes(copied / "run-new")) == 30


def test_logs_without_a_mapping_are_read_as_the_first_were(first, tmp_path):
    logs = robot_logs(tmp_path / "more", episodes=5, seed=3)
    assert not beside(logs).exists()
    main(["collect", str(first / "run")])
    main(["run", "--after", str(first / "run"), "--logs", str(logs), "--run", str(tmp_path / "run"), *ONE])
    limits = [part.high for part in open_run(first / "run").config.task.mapping.action]
    assert [part.high for part in open_run(tmp_path / "run").config.task.mapping.action] == limits
    rows = EpisodeStore.open(tmp_path / "run" / "data").episode(14)  # the first of the new ones
    assert len(rows["action"]) == 30  # at two steps of the logs


@pytest.mark.parametrize("preset", ["pusht-keypoints-debug", "pusht-debug", "pusht-points-debug"])
def test_push_t_goes_on_with_what_its_policy_did(preset, tmp_path, capsys):
    main(["run", preset, "--run", str(tmp_path / "run"), *ONE])
    main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "bundle")])
    main(["rollout", str(tmp_path / "bundle"), "--episodes", "3", "--no-careful", "--log", str(tmp_path / "new")])
    after = ("run", "--after", tmp_path / "run", "--logs", tmp_path / "new", *ONE)
    if preset != "pusht-keypoints-debug":
        own = mappings.load(beside(tmp_path / "new"))
        mappings.save(beside(tmp_path / "new"), replace(own, crop=(0, 0, 60, 64)))
        assert "shows the robot otherwise" in refused(capsys, *after)
        mappings.save(beside(tmp_path / "new"), own)
    main(list(map(str, after)))
    run = open_run(tmp_path / "run-new")
    assert {one.state for one in status(run).values()} == {"done"}
    assert len(run.store) == 23
    new = run.store.episode(18)  # the first of them, from the initial state that was judged first
    assert set(new) >= {"action", "reward", "cont", "pose", *run.codec.reads}
    assert "coverage" not in new
    begun = PushT(PushTConfig()).reset(run.config.evaluate.first_seed)
    np.testing.assert_allclose(new["pose"][0], begun.pose, atol=1e-3)
    moved = np.linalg.norm(np.diff(new["agent"], axis=0), axis=1)
    assert 0 < moved.max() < 1.5 * PushTConfig().reach


def test_a_robot_that_is_seen_goes_on_with_pictures(tmp_path):
    main(
        [
            "run",
            "robot-images-debug",
            "--run",
            str(tmp_path / "run"),
            "--logs",
            str(seeing_logs(tmp_path / "logs")),
            *ONE,
        ]
    )
    more = seeing_logs(tmp_path / "more", episodes=4, steps=40)
    main(["run", "--after", str(tmp_path / "run"), "--logs", str(more), *ONE])
    run = open_run(tmp_path / "run-more")
    assert len(run.store) == 12
    assert all((weights(run.folder, "codec")[k] == x).all() for k, x in weights(tmp_path / "run", "codec").items())


@given(
    st.integers(2, 300), st.integers(1, 100), st.sampled_from([0.05, 0.1, 0.25, 0.5]), st.sampled_from([0.0, 0.1, 0.3])
)
def test_whatever_the_numbers_no_episode_changes_sides(old, new, held_out, judge):
    config: Any = SimpleNamespace(held_out=held_out, judge=judge)
    numbers = [3 * i for i in range(new)]
    try:
        parts = split_recorded(config, old)
        order = before.in_order(old, numbers, config)
    except UserError:
        return
    after = split_recorded(config, old + new)
    assert sorted(order) == sorted([*numbers, *(before.OLD + i for i in range(old))])
    for then, now in zip(parts, after, strict=True):
        assert {before.OLD + i for i in then} <= {order[i] for i in now}


def test_too_few_episodes_to_share_out_are_refused(first, tmp_path, capsys):
    config: Any = SimpleNamespace(held_out=0.1, judge=0.3)
    with pytest.raises(UserError, match="1 new episodes are too few"):
        for old in range(10, 60):
            before.in_order(old, [0], config)


def test_what_a_run_cannot_go_on_from_is_refused(first, copied, capsys, tmp_path):
    run, new = first / "run", first / "new"
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("--after",), "--after needs the folder of a run"),
        (("--after", "--logs", new), "--after needs the folder of a run"),
        (("--after", run, f"--after={run}", "--logs", new), "--after is named twice"),
        (("--after", run), "goes on from"),
        (("--after", tmp_path / "nowhere", "--logs", new), "is no run"),
        (("robot-debug", "--after", run, "--logs", new), "stands beside --after"),
        (("--after", run, "--logs", new, "--run", run), "cannot go on from itself"),
        (("--after", run, "--logs", first / "logs"), "was trained on already"),
        (("--after", run, "--logs", new, "--world.size", "2"), "--world.size is"),
        (("--after", run, "--logs", new, "--held-out", "0.2"), "--held-out is 0.1 there and 0.2 here"),
        (("--after", run, "--logs", tmp_path / "none"), "none"),
        (("--after", run, "--logs", new, "--run", run / "inside"), "inside"),
    ]
    for arguments, said in cases:
        assert said in refused(capsys, "run", *arguments), arguments
    assert not (first / "run-logs").exists()
    shutil.rmtree(copied / "run" / "policy")
    (copied / "run" / "stages" / "policy.json").unlink()
    assert "is not finished: it lacks policy" in refused(
        capsys, "run", "--after", copied / "run", "--logs", copied / "new"
    )


def test_logs_that_tell_less_or_otherwise_are_refused(first, copied, capsys):
    after = ("run", "--after", copied / "run", "--logs", copied / "new", *ONE)
    own = mappings.load(beside(copied / "new"))
    mappings.save(beside(copied / "new"), replace(own, reward=None))
    assert "reward" in refused(capsys, *after)
    mappings.save(beside(copied / "new"), replace(own, rate=5.0))
    assert "reads the robot otherwise than the logs of the run before: rate is 5.0, expected 10.0" in refused(
        capsys, *after
    )
    mappings.save(beside(copied / "new"), replace(own, action=own.action[:1], streams=own.streams[:1]))
    said = refused(capsys, *after)
    assert "streams is [('" in said
    assert "; action is [('" in said
    mappings.save(beside(copied / "new"), own)
    main(list(map(str, after)))
    assert len(hashes(copied / "run-new")) == 30


def test_rewards_far_from_those_before_are_refused(first, tmp_path):
    old = EpisodeStore.open(first / "run" / "data")
    episode = old.episode(0)
    reads = ["state", "goal"]
    fresh = {name: np.array(x) for name, x in episode.items()} | {"state": episode["state"] + 0.01}
    write_episode(tmp_path / "data", 0, fresh)
    before.check_new(old, tmp_path / "data", [0], tmp_path, reads)
    better = old.fields["reward"].max() + 0.5 * np.ptp(old.fields["reward"])  # as a policy earns that does well
    write_episode(tmp_path / "data", 3, fresh | {"reward": np.full_like(episode["reward"], better)})
    before.check_new(old, tmp_path / "data", [3], tmp_path, reads)
    write_episode(tmp_path / "data", 1, fresh | {"reward": episode["reward"] - 100})
    with pytest.raises(UserError, match=r"rewards of .* are of another kind"):
        before.check_new(old, tmp_path / "data", [1], tmp_path, reads)
    write_episode(
        tmp_path / "data", 2, {name: np.array(x) for name, x in episode.items()} | {"reward": fresh["reward"] / 2}
    )
    with pytest.raises(UserError, match=r"1 episodes of .* are among those of"):
        before.check_new(old, tmp_path / "data", [0, 2], tmp_path, reads)


def test_flags_and_distances_are_not_mixed(first, tmp_path):
    old = EpisodeStore.open(first / "run" / "data")
    flags = replace(old, fields={**old.fields, "reward": (old.fields["reward"] > -0.5).astype(np.float32)})
    fresh = {name: np.array(x) for name, x in old.episode(0).items()} | {"state": old.episode(0)["state"] + 0.01}
    write_episode(tmp_path / "data", 0, fresh | {"reward": np.full(len(fresh["reward"]), 0.5, np.float32)})
    with pytest.raises(UserError, match="another kind"):
        before.check_new(flags, tmp_path / "data", [0], tmp_path, ["state"])
    write_episode(tmp_path / "data", 1, fresh | {"reward": (np.arange(len(fresh["reward"])) % 2).astype(np.float32)})
    with pytest.raises(UserError, match="another kind"):
        before.check_new(old, tmp_path / "data", [1], tmp_path, ["state"])
    before.check_new(flags, tmp_path / "data", [1], tmp_path, ["state"])
    never = replace(old, fields={**old.fields, "reward": np.zeros_like(old.fields["reward"])})
    write_episode(tmp_path / "data", 2, fresh | {"reward": np.ones(len(fresh["reward"]), np.float32)})
    before.check_new(never, tmp_path / "data", [2], tmp_path, ["state"])  # nobody had succeeded before


@pytest.mark.parametrize("preset", ["pusht-keypoints-debug", "pusht-debug", "pusht-images-debug", "pusht-points-debug"])
def test_what_codecs_read_is_known_without_them(preset):
    config = PRESETS[preset]
    assert set(before.seen_by(config)) == set(build_codec(config).reads)


def test_what_a_robots_codec_reads_is_known_without_it(second):
    run = open_run(second)
    assert set(before.seen_by(run.config)) == set(run.codec.reads)


def test_episodes_that_are_there_already_are_refused(first, second, tmp_path, capsys):
    """A data set that has grown, and was copied."""
    grown = robot_logs(tmp_path / "grown", episodes=24)
    said = refused(capsys, "run", "--after", first / "run", "--logs", grown, "--run", tmp_path / "run", *ONE)
    assert "20 episodes of" in said and "are among those of" in said
    said = refused(capsys, "run", "--after", second, "--logs", first / "logs", "--run", tmp_path / "run2", *ONE)
    assert "20 episodes of" in said


def test_what_decides_the_sides_stays_as_it_is(second, capsys):
    for options, said in (
        (("--held-out", "0.5"), "--held-out is 0.1 there and 0.5 here"),
        (("--judge", "0.1"), "--judge is 0.2 there"),
        (("--world.size", "2"), "--world.size is"),
        (("--cloning.chunk", "4"), "--cloning.chunk is 1 there and 4 here"),
    ):
        assert said in refused(capsys, "run", second, *options, "--replace")
    assert {one.state for one in status(open_run(second)).values()} == {"done"}


@pytest.mark.parametrize("kind", ["global", "judge", "codec"])
def test_a_model_that_is_gone_from_the_run_before_is_missed(copied, capsys, kind):
    shutil.rmtree(copied / "run" / kind)
    said = refused(capsys, "run", "--after", copied / "run", "--logs", copied / "new", *ONE)
    assert f"no trained {kind} in" in said
    assert not (copied / "run-new" / "data").exists()


def test_data_are_not_set_aside_for_a_run_that_is_gone(copied, capsys):
    main(["run", "--after", str(copied / "run"), "--logs", str(copied / "new"), *ONE])
    shutil.rmtree(copied / "run")
    assert "is no run" in refused(capsys, "collect", copied / "run-new", "--replace")
    assert {one.state for one in status(open_run(copied / "run-new")).values()} == {"done"}


def test_critics_and_what_it_is_held_near_are_taken_over(first, tmp_path):
    held = ("--warm-start", "2", "--learn.imitation", "0.5", "--learn.critics-first", "2")
    run = tmp_path / "run"
    main(["run", "robot-debug", "--run", str(run), "--logs", str(first / "logs"), "--env", ID, *held, *ONE])
    main(["run", "--after", str(run), "--logs", str(first / "new"), *ONE])
    new = open_run(tmp_path / "run-new")
    assert new.config.learn.critics_first == 0  # pyright: ignore
    assert not (new.folder / "policy" / "warm_start").exists()
    modules = checkpoints.load(run / "policy", "policy", training=True).training["job"]["modules"]  # pyright: ignore
    for kind, expected in zip(("critics", "imitation"), modules[2:], strict=True):
        begun = weights(new.folder / "before", kind)
        assert all((begun[name] == x).all() for name, x in expected.items())
    ended = checkpoints.load(new.folder / "policy", "policy", training=True).training["job"]["modules"]  # pyright: ignore
    for then, now in zip(modules[2:], ended[2:], strict=True):
        far = max(float((now[name] - x).abs().max()) for name, x in then.items())
        assert far < 0.05  # two iterations from there


def test_initial_states_that_policies_are_judged_from_are_named(first, copied, capsys):
    write_json(copied / "new" / "rollout.json", {"seeds": [1_000_050, 1_000_060]})
    main(["run", "--after", str(copied / "run"), "--logs", str(copied / "new"), "--evaluate.episodes", "60", *ONE])
    assert "begins in initial states from which `glocal evaluate` judges" in " ".join(
        "".join(capsys.readouterr()).split()
    )


def test_limits_and_scale_are_those_of_the_first_logs(first, copied):
    own = mappings.load(beside(copied / "new"))
    wider = [replace(part, high=tuple(2 * x for x in part.high)) for part in own.action]
    mappings.save(beside(copied / "new"), replace(own, action=tuple(wider), reward_scale=7.0))
    main(["run", "--after", str(copied / "run"), "--logs", str(copied / "new"), *ONE])
    main(["run", "--after", str(first / "run"), "--logs", str(first / "new"), *ONE])
    assert hashes(copied / "run-new") == hashes(first / "run-new")


def test_weights_of_a_run_before_that_are_damaged_are_refused(copied, capsys):
    with (copied / "run" / "global" / "last" / "model.safetensors").open("r+b") as file:
        file.seek(200)
        file.write(b"\xff" * 8)
    said = refused(capsys, "run", "--after", copied / "run", "--logs", copied / "new", *ONE)
    assert "global/last/model.safetensors is damaged or incomplete" in said
    assert not (copied / "run-new" / "data").exists()


def test_data_of_a_run_before_that_are_damaged_are_refused(copied, capsys):
    with (copied / "run" / "data" / "state.npy").open("r+b") as file:
        file.seek(400)
        file.write(b"\x01\x02")
    assert "is damaged" in refused(capsys, "run", "--after", copied / "run", "--logs", copied / "new", *ONE)


def test_fields_of_another_shape_are_refused(first, tmp_path):
    old = EpisodeStore.open(first / "run" / "data")
    episode = {name: np.array(x) for name, x in old.episode(0).items()}
    write_episode(tmp_path / "data", 0, episode | {"state": np.tile(episode["state"], 2)})
    with pytest.raises(UserError, match=r"the state of .* is float32 \(8,\), that of .* float32 \(4,\)"):
        before.shared_fields(old, tmp_path / "data", 0, tmp_path, ["state"])
    write_episode(tmp_path / "data", 1, {name: x for name, x in episode.items() if name != "goal"})
    with pytest.raises(UserError, match="tells no goal"):
        before.shared_fields(old, tmp_path / "data", 1, tmp_path, ["state", "goal"])
    assert "goal" not in before.shared_fields(old, tmp_path / "data", 1, tmp_path, ["state"])


def test_features_of_another_shape_are_refused(tmp_path):
    collect._check_shapes(tmp_path, {"a": [48, 48, 3], "b": [4]}, {"a": [48, 48, 3]})
    with pytest.raises(UserError, match=r"a in .* has the shape \(64, 64, 3\), and \(48, 48, 3\) in what"):
        collect._check_shapes(tmp_path, {"a": [64, 64, 3]}, {"a": [48, 48, 3]})


def test_what_the_first_logs_left_out_is_not_left_out_of_further_ones(first, tmp_path):
    task: Any = open_run(first / "run").config.task
    task = replace(task, mapping=replace(task.mapping, leave_out=(1, 2)))
    logs = robot_logs(tmp_path / "more", episodes=2, seed=3)
    found = collect.further_mapping(task, logs, open_dataset(logs))
    assert (found.leave_out, found.streams, found.fps) == ((), task.mapping.streams, 20.0)
