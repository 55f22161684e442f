"""What a diagnosis says of a run: numbers on calibration and horizons, and a page with pictures."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from glocal.evaluate.calibration import in_words
from glocal.evaluate.report.page import figure_html, table_html, write_page

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator


def write_diagnosis(folder: Path, found: Mapping[str, Any]) -> None:
    """Write `diagnosis.html`."""
    heads = ["horizon", *next(iter(found["gradients"].values()))]
    rows = [[horizon, *map(_agreement, links.values())] for horizon, links in found["gradients"].items()]
    advice, model = found["recommended_horizon"], found["model"]
    drifts = [[name, *map(in_words, by.values())] for name, by in model["drift"].items()]
    body = (
        "<h2>Gradients</h2><p>Cosine of each link's gradient with respect to the policy's first actions, with finite "
        "differences of the global model's return under common random numbers, with its 95 % interval over windows; "
        "then with backpropagation through the global model.</p>"
        + table_html(heads, rows)
        + figure_html(_plot_gradients(found["gradients"]))
        + f"<p>{html.escape(recommended(advice))}.</p>"
        + "<h2>The global model</h2>"
        + table_html(["actions, median error after", *next(iter(model["drift"].values()))], drifts)
        + table_html(["", "found", "asked for at least", ""], [_verdict(check) for check in model["checks"]])
        + figure_html(_plot_reward(model["reward"]))
    )
    write_page(folder / "diagnosis.html", "Diagnosis", body)


def recommended(advice: Mapping[str, Any]) -> str:
    """Which horizon is recommended, and why, in a sentence."""
    horizon = "no horizon is recommended" if advice["horizon"] is None else f"recommended horizon: {advice['horizon']}"
    return f"{horizon} (trained with {advice['trained_with']}); {advice['why']}"


def trust_section(rows: Sequence[Mapping[str, float]]) -> str:
    """What imagination looked like while the policy was trained in it."""
    looks = [row for row in rows if "trust/own" in row]
    if not looks:
        return "<p>Nobody looked (--watch.imagined, --watch.every).</p>"
    rang = [f"{row['imag/steps'] / 1e6:.2f} M" for row in looks if row.get("trust/alarm")]
    judged = "trust/judge" in looks[0]
    said = f"The alarm rang at {', '.join(rang)} steps." if rang else "The alarm did not ring."
    text = said if judged else "There was no judge (--judge) to re-score imagined episodes."
    return f"<p>{text}</p>" + figure_html(_plot_trust(looks, judged))


def _plot_trust(looks: Sequence[Mapping[str, float]], judged: bool) -> Any:
    figure, panels = plt.subplots(1, 3, figsize=(11, 3))
    steps = [row["imag/steps"] / 1e6 for row in looks]
    curves = (
        {"trust/own": "own world", "trust/judge": "the judge's"} if judged else {"trust/own": "own world"},
        {"trust/distance": "distance of beliefs from recorded ones", "trust/noise": "spread over noise"},
        {"trust/cosine": "cosine with finite differences"},
    )
    for axes, lines, title in zip(panels, curves, ("reward of a control step", "strangeness", "gradient"), strict=True):
        for key, label in lines.items():
            axes.plot(steps, [row[key] for row in looks], marker="o", ms=3, label=label)
        axes.set(title=title, xlabel="million imagined steps")
        axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def _verdict(check: Mapping[str, Any]) -> list[str]:
    return [check["name"], f"{check['found']:.3g}", f"{check['at_least']:.3g}", "pass" if check["ok"] else "FAIL"]


def _agreement(found: Mapping[str, Any]) -> str:
    return f"{found['cosine']:.2f} [{found['low']:.2f}, {found['high']:.2f}], {found['bptt_cosine']:.2f}"


def _plot_gradients(gradients: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Any:
    figure, panels = plt.subplots(1, 3, figsize=(11, 3))
    horizons = [int(h) for h in gradients]
    for link in next(iter(gradients.values())):
        for axes, key in zip(panels, ("cosine", "norm_ratio", "signal_to_noise"), strict=True):
            axes.plot(horizons, [links[link][key] for links in gradients.values()], marker="o", ms=3, label=link)
    for axes, title in zip(panels, ("cosine", "length ratio", "signal to noise"), strict=True):
        axes.set(title=title, xscale="log", xlabel="horizon")
        axes.set_xticks(horizons, map(str, horizons), minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
    panels[2].set(yscale="log")
    panels[0].legend()
    figure.tight_layout()
    return figure


def _plot_reward(reward: Mapping[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(3.6, 3.2))
    predicted, recorded = zip(*reward["bins"], strict=True)
    axes.plot([0, 1], [0, 1], color="lightgray")
    axes.plot(predicted, recorded, marker="o", ms=3)
    axes.set(xlabel="imagined reward", ylabel="recorded reward", title="along open-loop rollouts")
    figure.tight_layout()
    return figure
