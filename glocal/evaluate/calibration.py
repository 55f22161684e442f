"""How well numbers agree: predicted with recorded ones, and a global model with what is asked of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def usable_horizon(medians: Sequence[Sequence[float]], limits: Sequence[float]) -> int:
    """Control steps up to which all median errors, a row for each control step, stay within their limits."""
    for horizon, errors in enumerate(medians):
        if any(error > limit for error, limit in zip(errors, limits, strict=True)):
            return horizon
    return len(medians)


def model_checks(model: Mapping[str, Any], error: Mapping[str, float], horizon: int) -> list[dict[str, Any]]:
    """What a policy asks of the global model that it is trained in; `error` is the model's by the actions given."""
    others = {name: error[name] for name in ("shuffled", "zero", "mirrored")}
    nearest = min(others, key=lambda name: others[name])
    return [
        _check(f"usable for the {horizon} control steps of a rollout", model["usable_horizon"], at_least=horizon),
        _check(
            f"follows actions: error with {nearest} ones over that with true ones",
            others[nearest] / max(error["true"], 1e-9),
            at_least=2.0,
        ),
        _check("rank correlation of rewards", model["reward"]["rank_correlation"], at_least=0.9),
    ]


def in_words(error: Mapping[str, float]) -> str:
    """Median errors: of a planar robot's block, or of each stream in its standard deviations."""
    if "block_px" in error:
        return f"block {error['block_px']:.1f} px, {error['angle_rad']:.3f} rad"
    return ", ".join(f"{name} {found:.3f}" for name, found in error.items())


def _check(name: str, found: float, at_least: float) -> dict[str, Any]:
    return {"name": name, "found": float(found), "at_least": float(at_least), "ok": bool(found >= at_least)}


def calibration(predicted: NDArray[np.floating], recorded: NDArray[np.floating], bins: int = 10) -> dict[str, Any]:
    """Predicted against recorded values: means in bins of equal count of the predicted ones, and rank correlation."""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return {
        "bins": [[float(predicted[part].mean()), float(recorded[part].mean())] for part in parts],
        "mean_error": float(np.abs(predicted - recorded).mean()),
        "rank_correlation": rank_correlation(predicted, recorded),
    }


def rank_correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Spearman's: the correlation of ranks, ties sharing their mean rank; NaN where one does not vary."""
    from scipy.stats import spearmanr

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    found: Any = spearmanr(a, b)
    return float(found.statistic)
