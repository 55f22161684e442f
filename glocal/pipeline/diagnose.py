"""Diagnosis: whether a finished run's gradients and global model deserve trust; `diagnosis.json` and a page.

Each part is kept beside the hash of what it was asked about, so that an interrupted diagnosis goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glocal.core.gradients import LINKS
from glocal.core.rollout import replay
from glocal.core.types import Segment, Step
from glocal.deploy.controllers import acting
from glocal.evaluate.calibration import calibration, in_words, model_checks, usable_horizon
from glocal.evaluate.gates import Pose, drift, errors, shuffled, stream_drift
from glocal.evaluate.gradients import Agreement, Question, acted, agreement, recommended_horizon
from glocal.evaluate.report.diagnosis import recommended, write_diagnosis
from glocal.pipeline.config import RobotConfig
from glocal.pipeline.run import alone
from glocal.pipeline.run_dir import Run
from glocal.pipeline.validate import gate_windows, moving_windows, parts_of, reader
from glocal.runtime.files import UserError, answered, read_json, sha256, write_json
from glocal.runtime.progress import Ticker, console, quoted
from glocal.runtime.trainer import threads

HORIZONS = (4, 8, 16, 32, 64)
FIRST = 4
"""Actions with respect to which gradients are compared."""
WINDOWS = 64
LINKS_SHOWN = ["decouple", "infer_noise", "imagine", "bptt"]
ROLLOUT = 20
NOTHING = "nothing moves"
HALF = 0.5
"""A robot's global model is usable while its error is at most this share of that where nothing moves."""


def diagnose(run: Run) -> dict[str, Any]:
    """Gradient report and model gate of a run with a policy; raises `UserError` where it has none."""
    if not (run.folder / "stages" / "policy.json").is_file():
        raise UserError(f"{run.folder} has no trained policy to diagnose; run `glocal run {quoted(run.folder)}` first")
    with alone(run.folder), threads(run.config.threads):
        found = {
            "gradients": _gradients(run),
            "model": _part(run, "model", {"horizon": run.config.learn.horizon}, lambda: _model(run)),
        }
    chosen = {int(h): Agreement(**links["decouple"]) for h, links in found["gradients"].items()}
    horizon, why = recommended_horizon(chosen)
    found["recommended_horizon"] = {"horizon": horizon, "why": why, "trained_with": run.config.learn.horizon}
    write_json(run.folder / "diagnosis.json", found)
    write_diagnosis(run.folder, found)
    return found


def _part(run: Run, name: str, asked: Mapping[str, Any], work: Callable[[], Any]) -> Any:
    """A part of the diagnosis, from before where it was asked about the same weights."""
    weights = {kind: sha256(run.kept(kind) / "last" / "model.safetensors") for kind in ("global", "policy")}
    asked = {**weights, **asked}
    path = run.folder / "diagnosis" / f"{name}.json"
    if answered(path, asked) is None:
        write_json(path, {"asked": asked, "found": work()})
    return read_json(path)["found"]


def _gradients(run: Run) -> dict[str, Any]:
    """By horizon and link: how gradients along the policy's own actions agree with the global model's."""
    policy, world, gamma = run.policy("policy").requires_grad_(False), run.world(), run.config.learn.gamma
    if isinstance(run.config.task, RobotConfig):
        whole, *_ = moving_windows(run, run.config.world.context, ROLLOUT)
    else:
        whole, _, _ = gate_windows(run, reader(run), run.config.world.context, ROLLOUT)
    rows = torch.arange(0, len(whole.reward), max(1, len(whole.reward) // WINDOWS))[:WINDOWS]
    begin = whole[rows][:, : run.config.world.context]
    act = acting(policy, run.config.cloning.forget)
    action = acted(act, world, policy.surrogate, begin, max(HORIZONS), run.config.seed).action
    links, found = {name: LINKS[name] for name in LINKS_SHOWN}, {}
    with Ticker("gradients", len(HORIZONS), unit="horizons") as tick:
        for done, horizon in enumerate(HORIZONS):
            question = Question(world, policy.surrogate, begin, action[:, :horizon], gamma, FIRST)
            asked = {"first": FIRST, "links": LINKS_SHOWN}
            found[str(horizon)] = _part(run, f"gradients-{horizon}", asked, lambda q=question: {
                name: asdict(one) for name, one in agreement(q, links, run.config.seed).items()
            })  # fmt: skip
            tick(done + 1)
    return found


def _model(run: Run) -> dict[str, Any]:
    """How the global model answers recorded actions, and others, and what its rewards are worth."""
    return _robot_model(run) if isinstance(run.config.task, RobotConfig) else _planar_model(run)


def _planar_model(run: Run) -> dict[str, Any]:
    """Of a planar robot, by its block's pose."""
    read = reader(run)
    whole, truth, _ = gate_windows(run, read, run.config.world.context, ROLLOUT)
    answers, still = _answers(run, whole)
    found = {name: read(answer.obs) for name, answer in answers.items()} | {NOTHING: read(still)}
    drifts = {name: drift(poses, truth) for name, poses in found.items()}
    error = {name: by_horizon[str(ROLLOUT)]["block_px"] for name, by_horizon in drifts.items()}
    usable = usable_horizon(_medians(found["true"], truth), run.config.gates.world)
    return _judged(run, whole, answers["true"], {"drift": drifts, "usable_horizon": usable}, error)


def _robot_model(run: Run) -> dict[str, Any]:
    """Of any robot, by its streams."""
    window = run.config.world.context
    whole, *_ = moving_windows(run, window, ROLLOUT)
    truth, (answers, still) = whole.obs[:, window:], _answers(run, whole)
    found = {name: answer.obs for name, answer in answers.items()} | {NOTHING: still}
    drifts = {name: stream_drift(parts_of(run), obs, truth) for name, obs in found.items()}
    moved = {name: (obs - truth).pow(2).mean(-1).sqrt().median(0).values for name, obs in found.items()}
    error = {name: float(by_step[-1]) for name, by_step in moved.items()}
    ratios = moved["true"] / moved[NOTHING].clamp_min(1e-9)
    usable = usable_horizon(ratios[:, None].tolist(), [HALF])
    return _judged(run, whole, answers["true"], {"drift": drifts, "usable_horizon": usable}, error)


def _answers(run: Run, whole: Segment) -> tuple[dict[str, Step], Tensor]:
    """What the global model says to the recorded actions of windows and to others, and what was there before."""
    window, world = run.config.world.context, run.world()
    begin, action = whole[:, :window], whole.action[:, window:]
    given = {"true": action, "shuffled": shuffled(action), "zero": torch.zeros_like(action), "mirrored": -action}
    answers = {name: replay(world, begin, each, run.config.seed) for name, each in given.items()}
    return answers, begin.obs[:, -1:].expand(-1, ROLLOUT, -1)


def _judged(
    run: Run, whole: Segment, answer: Step, found: Mapping[str, Any], error: Mapping[str, float]
) -> dict[str, Any]:
    """What was found, with rewards and checks; `error` is that of the last step by the actions given."""
    seen = whole[:, run.config.world.context :]
    model = {"windows": len(seen.reward), **found, "reward": _reward(answer, seen)}
    return model | {"checks": model_checks(model, error, run.config.learn.horizon)}


def _medians(found: Pose, truth: Pose) -> list[tuple[float, float]]:
    """Median errors of block (px) and angle (rad) by control step."""
    by_name = errors(found, truth)
    block, angle = (np.median(by_name[name], axis=0) for name in ("block_px", "angle_rad"))
    return [(float(a), float(b)) for a, b in zip(block, angle, strict=True)]


def _reward(answer: Step, seen: Segment) -> dict[str, Any]:
    def flat(x: Tensor) -> Any:
        return x.flatten().cpu().numpy()

    return calibration(flat(answer.reward), flat(seen.reward))


def summary(found: Mapping[str, Any]) -> list[str]:
    """The diagnosis as lines of text."""
    lines = []
    for horizon, links in found["gradients"].items():
        cells = (f"{name} {one['cosine']:.2f} (s/n {one['signal_to_noise']:.1f})" for name, one in links.items())
        lines.append(f"gradient cosine, horizon {horizon:>2}: " + ", ".join(cells))
    advice, model = found["recommended_horizon"], found["model"]
    lines.append(recommended(advice))
    for name, by_horizon in model["drift"].items():
        last = by_horizon[str(ROLLOUT)]
        shown = name if name == NOTHING else f"{name} actions"
        lines.append(f"{shown}, after {ROLLOUT}: {in_words(last)}")
    for check in model["checks"]:
        verdict = "pass" if check["ok"] else "FAIL"
        lines.append(f"{verdict}  {check['name']}: {check['found']:.3g}, asked for at least {check['at_least']:.3g}")
    return lines


def show(found: Mapping[str, Any]) -> None:
    """Print a diagnosis."""
    for line in summary(found):
        console.print(line)
