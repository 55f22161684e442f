"""Which stages are done, stale or damaged: by the configuration that each declares, its inputs, its code, its files."""

import json
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from glocal.pipeline.config import Config
from glocal.pipeline.plan import FREE, STAGES
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.run import perform
from glocal.pipeline.run_dir import Run
from glocal.pipeline.stamps import read_stamp, stamp_path, write
from glocal.pipeline.status import plan_of, stamped, status
from glocal.runtime.declarations import UndeclaredError, declared
from glocal.runtime.files import UserError, sha256
from tests.finished import DEBUG, finished_run


@pytest.fixture
def run(tmp_path) -> Run:
    return finished_run(tmp_path / "run")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Run:
    return finished_run(tmp_path_factory.mktemp("runs") / "run")


def states(run: Run) -> dict[str, str]:
    return {name: found.state for name, found in status(run).items()}


def with_part(config: Any, path: str, value: Any) -> Any:
    """The configuration with another value at a dotted path."""
    name, _, rest = path.partition(".")
    return replace(config, **{name: with_part(getattr(config, name), rest, value) if rest else value})


def leaves(config: Any, prefix: str = "") -> Iterator[str]:
    """The dotted paths of all that is chosen."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def other(config: Any, path: str) -> Any:
    """Another value of the same kind than a configuration has at a dotted path."""
    *parents, name = path.split(".")
    for parent in parents:
        config = getattr(config, parent)
    value, hint = getattr(config, name), get_type_hints(type(config))[name]
    if get_origin(hint) is Literal:
        return next(one for one in get_args(hint) if one != value)
    match value:
        case bool():
            return not value
        case str():
            return f"{value}-other"
        case ():
            return ("observation.goal=aim",)
        case first, *rest:
            return (first + 1, *rest)
    return 1 if value is None else value + 1


@pytest.mark.parametrize("preset", ["pusht-keypoints-debug", "pusht-grid-debug"])
def test_of_every_part_of_the_configuration_those_stages_depend_on_it_that_declare_it(preset, tmp_path):
    config = PRESETS[preset]
    before = {name: plan_of(Run(tmp_path, config), stage, sha256) for name, stage in STAGES.items()}
    for path in leaves(config):
        changed = Run(tmp_path, with_part(config, path, other(config, path)))
        for name, stage in STAGES.items():
            is_declared = any(path == part or path.startswith(f"{part}.") for part in stage.config)
            now = plan_of(changed, stage, sha256)
            assert (now.config != before[name].config) == is_declared, (name, path)
            assert (now.inputs != before[name].inputs) == (path in ("logs", "after") and name == "collect")


CHANGES = {
    "seed": set(STAGES) - {"report"},
    "play.control_steps": {"collect", "evaluate"},
    "task.control_steps": set(STAGES) - {"report"},
    "held_out": {"codec", "global", "judge", "local", "gates", "cloning", "policy"},
    "world.context": {"global", "judge", "local", "gates", "policy", "evaluate"},
    "world_fit.updates": {"global", "judge"},
    "world_fit.average": {"global", "judge"},
    "surrogate.width": {"local", "gates", "cloning", "policy", "evaluate"},
    "surrogate_length": {"local"},
    "matching.weight": {"local", "policy"},
    "learn.horizon": {"gates", "policy", "evaluate"},
    "learn.gamma": {"gates", "policy", "evaluate"},
    "learn.iterations": {"policy", "evaluate"},
    "policy_seed": {"cloning", "policy", "evaluate"},
    "cloning.forget": {"cloning", "evaluate"},
    "watch.keep": {"policy", "evaluate"},
    "watch.every": {"policy"},
    "evaluate.episodes": {"evaluate"},
    "gates.world": {"gates"},
    "threads": set(),
    "processes": set(),
    "clock.log_every": set(),
    "preset": set(),
    "device": set(),
}


@pytest.mark.parametrize("path, named", CHANGES.items(), ids=CHANGES)
def test_a_changed_option_is_named_by_the_stages_that_depend_on_it(untouched, path, named):
    found = status(Run(untouched.folder, with_part(DEBUG, path, other(DEBUG, path))))
    saying = {name for name, one in found.items() if any("the configuration of" in reason for reason in one.reasons)}
    assert saying == named
    stale: set[str] = set()
    for name, stage in STAGES.items():
        stale |= {name} if name in named or stale & set(stage.needs) else set()
    assert {name for name, one in found.items() if one.state == "stale"} == stale
    assert all(one.state == "done" for name, one in found.items() if name not in stale)


def test_a_stage_cannot_read_what_it_has_not_declared():
    seen = declared(DEBUG, ("world", "learn.horizon"), "the stage gates")
    assert seen.world == DEBUG.world and seen.learn.horizon == DEBUG.learn.horizon
    with pytest.raises(UndeclaredError, match=r"the stage gates reads config\.learn\.gamma, which it has not declared"):
        _ = seen.learn.gamma
    with pytest.raises(UndeclaredError, match=r"config\.seed"):
        _ = seen.seed
    with pytest.raises(AttributeError):
        _ = seen.colour  # pyright: ignore[reportAttributeAccessIssue]


def test_a_stage_that_reads_what_it_has_not_declared_breaks(run):
    def curious(run: Run) -> None:
        assert run.config.seed == 0
        _ = run.config.learn.horizon

    with pytest.raises(UndeclaredError, match=r"the stage codec reads config\.learn, which"):
        perform(run, replace(STAGES["codec"], work=curious))


def test_a_stage_is_stale_where_its_code_is_another(run):
    stamp = read_stamp(run.folder, "global")
    assert stamp is not None
    write(stamp_path(run.folder, "global"), replace(stamp, plan=replace(stamp.plan, code="of yesterday")))
    found = status(run)
    assert found["global"].state == "stale" and found["global"].reasons == ("the code of this stage changed",)
    assert "global is stale" in found["local"].reasons and found["judge"].state == "done"


@pytest.mark.parametrize("name", ["collect", "global", "judge", "local", "cloning", "policy", "gates", "evaluate"])
def test_stages_that_read_another_output_are_stale(run, name):
    stamp = read_stamp(run.folder, name)
    assert stamp is not None
    write(stamp_path(run.folder, name), replace(stamp, output="another"))
    found = status(run)
    readers = {reader for reader, stage in STAGES.items() if name in stage.needs}
    assert {one for one in found if f"the output of {name} changed" in found[one].reasons} == readers != set()


@pytest.mark.parametrize(
    "name, file",
    [
        ("codec", "codec/last/model.safetensors"),
        ("global", "global/last/model.safetensors"),
        ("policy", "policy/last/model.safetensors"),
        ("policy", "policy/trusted/last/model.safetensors"),
        ("policy", "policy/best/last/model.safetensors"),
        ("gates", "gates.json"),
        ("evaluate", "results.json"),
    ],
)
def test_outputs_are_told_apart_by_what_they_hold(tmp_path, name, file):
    first, second = (finished_run(tmp_path / which) for which in ("first", "second"))
    assert _output(first, name) == _output(second, name)
    (second.folder / file).write_text("something else")
    assert _output(first, name) != _restamped(second, name)


def _output(run: Run, name: str) -> str | None:
    stamp = read_stamp(run.folder, name)
    assert stamp is not None and stamp.output
    return stamp.output


def _restamped(run: Run, name: str) -> str | None:
    stage = STAGES[name]
    return stamped(run, stage, plan_of(run, stage, sha256), 0.0, "", sha256).output


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_file_that_was_cut_off_or_removed_makes_its_stage_damaged(run, stage):
    stamp = read_stamp(run.folder, stage.name)
    assert stamp is not None and stamp.files
    for name in stamp.files:
        whole = (run.folder / name).read_bytes()
        (run.folder / name).write_bytes(whole[:-1])
        found = status(run)[stage.name]
        assert found.state == "damaged" and f"{name} is damaged or incomplete" in found.reasons[0]
        (run.folder / name).write_bytes(whole)
        assert status(run)[stage.name].state == "done"
        if name != stage.output:
            (run.folder / name).rename(run.folder / "elsewhere")
            assert f"{name} is gone" in status(run)[stage.name].reasons
            (run.folder / "elsewhere").rename(run.folder / name)


def test_a_stage_does_not_work_with_damaged_inputs(run):
    (run.folder / "gates.json").write_text("[]")
    with pytest.raises(UserError, match=r"gates: gates.json is damaged .* do the stage again: `glocal run"):
        perform(run, STAGES["report"])
    assert states(run)["report"] == "stale"  # and it was left as it is


def test_data_that_decayed_on_the_disk_are_found_before_a_stage_reads_them(run):
    path = run.folder / "data" / "action.npy"
    os.utime(path, (1e9, 1e9))
    assert set(states(run).values()) == {"done"}  # its hash is kept
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, (1e9, 1e9))
    with pytest.raises(UserError, match=r"episode 3 of .* is damaged"):
        perform(Run(run.folder, DEBUG), STAGES["judge"])


def test_status_reads_large_files_once(run, monkeypatch):
    for path in run.folder.rglob("*.safetensors"):
        os.utime(path, (1e9, 1e9))
    status(run)
    read: list[Path] = []
    monkeypatch.setattr("glocal.runtime.digests.sha256", lambda path: read.append(path) or sha256(path))
    status(run)
    assert not [path for path in read if path.suffix == ".safetensors"]


@pytest.mark.parametrize("garbage", ["", "[]", "{}", '{"a": 1}', "{", "[" * 100_000, '{"/x": [[1, 2, 3], 4]}', "null"])
def test_broken_hashes_are_worked_out_again(run, garbage):
    (run.folder / "stages" / "digests.cache.json").write_text(garbage)
    assert set(states(run).values()) == {"done"}


def test_a_stamp_holds_the_whole_configuration(run):
    stamp = read_stamp(run.folder, "global")
    assert stamp is not None and json.loads(json.dumps(stamp.config))["learn"]["horizon"] == DEBUG.learn.horizon


def test_what_any_stage_may_read_is_declared_by_none():
    known = {field.name for field in fields(Config)}
    assert set(FREE) <= known
    for stage in STAGES.values():
        assert not set(stage.config) & set(FREE) and {part.partition(".")[0] for part in stage.readable} <= known
