"""The report: one HTML file with everything in it that says what a run did and how far it can be trusted."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Circle

from glocal.data.store import EpisodeStore
from glocal.evaluate.gates import HORIZONS
from glocal.evaluate.intervals import in_words
from glocal.evaluate.recording import describe, told, understood
from glocal.evaluate.report.diagnosis import trust_section
from glocal.evaluate.report.page import figure_html, table_html, write_page
from glocal.runtime.files import UserError, read_json
from glocal.runtime.trainer import read_log
from glocal.tasks.pusht import GOAL_KEYPOINTS, TABLE, Array

mpl.use("Agg")
import matplotlib.pyplot as plt

OUTLINE = (0, 1, 2, 5, 6, 7, 4, 3)
"""The T's keypoints in the order of its outline."""
METHODS = ("policy", "icem", "cloning", "play", "random")


RATES = {
    "pose": "pose (20 px, pi/9)",
    "coverage95": "coverage > 0.95",
    "success": "success",
    "success_at_end": "success at the end",
}
"""How what is counted of an episode is called."""
NUMBERS = {
    "max_coverage": "mean of largest coverage",
    "median_best_keypoint_px": "median of best keypoint distance (px)",
    "median_control_steps_to_success": "median of control steps to success",
}


def verdict(folder: Path) -> str:
    """One line: what the real environment said, and where the report is."""
    results = read_json(folder / "results.json")
    found = results["verdict"] if "verdict" in results else f"{results['episodes']} episodes: {_counted(results)}"
    steps = f"after {results['imagined_steps'] / 1e6:.2f} M imagined steps"
    return f"real environment: {found}; {steps}{_passed(folder)}; see {folder / 'report.html'}"


def _passed(folder: Path) -> str:
    """How many gates fail, in words; nothing where they have not been measured."""
    if not (folder / "gates.json").is_file():
        return ""
    try:
        checks = read_json(folder / "gates.json")["checks"]
    except UserError:
        return "; gates.json is damaged"
    failed = sum(not one["ok"] for one in checks)
    return f"; {failed} of {len(checks)} gates fail" if failed else f"; all {len(checks)} gates pass"


def _counted(results: Mapping[str, Any]) -> str:
    policy = results["policy"]
    return ", ".join(f"{RATES[name].split(' (')[0]} {in_words(policy[name])}" for name in RATES if name in policy)


def write_report(folder: Path, store: EpisodeStore) -> None:
    """Write `report.html`, self-contained, from what the stages have left in a run's folder."""
    results = read_json(folder / "results.json")
    sections = [
        ("What the real environment says", _results_table(results) + _videos(folder, results)),
        ("Success against imagined steps", _learning_section(read_log(folder / "policy"))),
        ("Could imagination be trusted?", trust_section(read_log(folder / "policy"))),
        ("Can the models be trusted?", _gates(folder)),
        ("How training went", figure_html(_plot_training(folder))),
        ("What was recorded", _doctor_section(folder) + _recorded_section(store)),
        ("Where the time went", _seconds_table(results)),
        ("Configuration", f"<pre>{html.escape(json.dumps(read_json(folder / 'config.json'), indent=1))}</pre>"),
    ]
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections)
    title = f"glocal: {results['preset']}"
    write_page(folder / "report.html", title, f"<p>{html.escape(verdict(folder))}</p>{body}")


def _gates(folder: Path) -> str:
    gates = read_json(folder / "gates.json")
    if "agent_px" in gates["drift"]["global model"][str(HORIZONS[0])]:
        return _gates_section(gates) + figure_html(_plot_rollouts(folder))
    plots = [_plot_streams(folder), *_plot_cameras(folder)]
    return _streams_section(gates) + "".join(figure_html(plot) for plot in plots if plot is not None)


def draw_scene(axes: Any, keypoints: Array, agent: Array, color: str = "slategray", alpha: float = 1.0) -> None:
    """Draw the T (16) and the agent (2), in pixels of the table."""
    axes.fill(*keypoints.reshape(8, 2)[list(OUTLINE)].T, color=color, alpha=alpha, lw=0)
    axes.add_patch(Circle(tuple(agent), 15, color="royalblue", alpha=alpha, lw=0))


def _show_scene(axes: Any, fields: Mapping[str, Array], row: int, t: int) -> None:
    empty_table(axes, "")
    draw_scene(axes, fields["keypoints"][row, t], fields["agent"][row, t])


def _show_image(axes: Any, fields: Mapping[str, Array], row: int, t: int) -> None:
    image = fields["image"][row, t]
    axes.imshow(image, extent=(0, TABLE, TABLE, 0))
    if "points" in fields:
        axes.scatter(*fields["points"][row, t].reshape(-1, 2).T, s=4, c="crimson")
        axes.scatter(*fields["agent"][row, t], s=8, c="black", marker="+")
    axes.axis("off")


def _plot_rollouts(folder: Path) -> Any:
    """Rows of pictures: a recorded rollout, and under it the imagined one from the same start and actions."""
    names = ("recorded", "imagined")
    with np.load(folder / "gates" / "rollouts.npz", allow_pickle=False) as file:
        sides = [{k.split("_", 1)[1]: file[k] for k in file.files if k.startswith(name)} for name in names]
    show, rows = _show_image if "image" in sides[0] else _show_scene, len(next(iter(sides[0].values())))
    figure, grid = plt.subplots(2 * rows, len(HORIZONS), figsize=(2 * len(HORIZONS), 4 * rows), squeeze=False)
    for line, pictures in enumerate(grid):
        for axes, horizon in zip(pictures, HORIZONS, strict=True):
            show(axes, sides[line % 2], line // 2, horizon - 1)
            axes.set_title(f"{names[line % 2]}, after {horizon}", fontsize=8)
    figure.tight_layout()
    return figure


def empty_table(axes: Any, title: str) -> None:
    """Draw the table with nothing on it but the goal."""
    axes.set(xlim=(0, TABLE), ylim=(TABLE, 0), xticks=[], yticks=[], aspect="equal")
    axes.set_title(title, fontsize=8)
    axes.fill(*GOAL_KEYPOINTS[list(OUTLINE)].T, color="lightgreen", lw=0)


def _learning_section(rows: Sequence[Mapping[str, float]]) -> str:
    looks = [row for row in rows if any(name.startswith("eval/") for name in row)]
    return figure_html(_plot_learning(looks)) if looks else "<p>No real environment was asked while it was trained.</p>"


def _plot_learning(looks: Sequence[Mapping[str, float]]) -> Any:
    steps = [row["imag/steps"] / 1e6 for row in looks]
    figure, axes = plt.subplots(figsize=(8, 3.5))
    for name in (name.removeprefix("eval/") for name in looks[0] if name.startswith("eval/")):
        axes.plot(steps, [row[f"eval/{name}"] for row in looks], marker="o", ms=3, label=name)
    axes.set(xlabel="million imagined steps", ylabel="real environment", ylim=(-0.02, 1.02))
    axes.legend()
    figure.tight_layout()
    return figure


def _plot_training(folder: Path) -> Any:
    policy = read_log(folder / "policy")
    panels = [(kind, read_log(folder / kind), "train/loss", "log") for kind in ("codec", "global", "local", "cloning")]
    keys = (
        "imag/return",
        "policy/entropy",
        "policy/temperature",
        "policy/gradient_norm",
        "critic/loss",
        "refresh/loss",
    )
    panels += [("policy", policy, key, "linear") for key in keys]
    panels = [panel for panel in panels if any(panel[2] in row for row in panel[1])]
    figure, grid = plt.subplots(-(-(len(panels) + 1) // 3), 3, figsize=(11, 2.6 * -(-(len(panels) + 1) // 3)))
    for axes, (kind, rows, key, scale) in zip(grid.flat, panels, strict=False):
        kept = [row for row in rows if key in row]
        axes.plot([row["iteration"] for row in kept], [row[key] for row in kept], lw=0.8)
        axes.set(title=f"{kind}: {key}", yscale=scale)
    _plot_gap(grid.flat[len(panels)], policy)
    for axes in list(grid.flat)[len(panels) + 1 :]:
        axes.axis("off")
    figure.tight_layout()
    return figure


def _plot_gap(axes: Any, rows: Sequence[Mapping[str, float]]) -> None:
    last = [row for row in rows if "gap/step1" in row][-10:]
    if not last:  # the log is gone, or ends before the first
        axes.axis("off")
        return
    steps = range(1, 1 + sum(key.startswith("gap/") for key in last[-1]))
    axes.plot(steps, [np.mean([row[f"gap/step{t}"] for row in last]) for t in steps])
    axes.set(title="gap by horizon step, at the end")


def _plot_data(store: EpisodeStore) -> Any:
    fields = understood(store)
    names = [name for name in ("coverage", "reward") if name in fields][:1]
    who, where = ("block", "pose") if "pose" in fields else ("agent", "agent")
    figure, panels = plt.subplots(1, 2 if where in fields else 1, figsize=(9, 3.2), squeeze=False)
    left, right = panels[0, 0], panels[0, -1]
    left.hist(np.asarray(fields[names[0]]), bins=40)
    left.set(title=f"{names[0]} in the recorded data", yscale="log")
    if where in fields:
        place = np.asarray(fields[where])[::20]
        right.scatter(place[:, 0], place[:, 1], s=2, alpha=0.3)
        right.set(title=f"recorded {who} positions", xlim=(0, TABLE), ylim=(TABLE, 0), aspect="equal")
    return figure


def _plot_recorded(store: EpisodeStore, count: int = 24) -> Any:
    """Scenes from all over the recorded data: as they were tracked, or else as the camera saw them."""
    figure, grid = plt.subplots(3, count // 3, figsize=(1.4 * count // 3, 4.2))
    rows = np.linspace(0, int(store.starts[-1]) - 1, count).astype(int)
    for axes, row in zip(grid.flat, rows, strict=True):
        if "keypoints" in store.fields:
            empty_table(axes, "")
            draw_scene(axes, store.fields["keypoints"][row], store.fields["agent"][row])
        else:
            axes.imshow(store.fields["image"][row])
            axes.axis("off")
    figure.tight_layout()
    return figure


def _recorded_section(store: EpisodeStore) -> str:
    found = describe(store)
    lines = [list(line) for line in told(found)]
    lines += [[f"coverage from {edge}", f"{share:.1%}"] for edge, share in found.get("coverage", {}).items()]
    drawn = "" if not {"image", "keypoints"} & set(understood(store)) else figure_html(_plot_recorded(store))
    return table_html(["", ""], lines) + figure_html(_plot_data(store)) + drawn


def _doctor_section(folder: Path) -> str:
    """What the doctor found in the logs, where there were some."""
    if not (folder / "doctor.json").is_file():
        return ""
    heads = ["verdict", "of", "found", "advice"]
    wanted = [heads[0], "name", *heads[2:]]
    match read_json(folder / "doctor.json"):
        case {"dataset": str(dataset), "findings": [*found]} if all(_tells(one, wanted) for one in found):
            rows = [[one[name] for name in wanted] for one in found]
            return f"<p>Logs: {html.escape(dataset)}</p>" + table_html(heads, rows)
    raise UserError(f"{folder / 'doctor.json'} is damaged; delete it, and the report is written without it")


def _tells(one: Any, wanted: Sequence[str]) -> bool:
    return isinstance(one, Mapping) and all(isinstance(one.get(name), str) for name in wanted)


def _results_table(results: Mapping[str, Any]) -> str:
    if "verdict" in results:
        return f"<p>{html.escape(results['verdict'])}</p>"
    policy = results["policy"]
    counted, told = ([name for name in names if name in policy] for names in (RATES, NUMBERS))
    rows = [
        [name, *(in_words(part[rate]) for rate in counted), *(_number(part[key]) for key in told)]
        for name, part in ((name, results[name]) for name in METHODS if name in results)
    ]
    heads = ["", *(RATES[name] for name in counted), *(NUMBERS[name] for name in told)]
    planned = f" (iCEM in the first {results['icem'][counted[0]]['n']})" if "icem" in results else ""
    return table_html(heads, rows) + (
        f"<p>{results['episodes']} episodes each{planned}, from the initial states of seeds {results['first_seed']} "
        "on; in brackets 95 % Wilson intervals.</p>"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _streams_section(gates: Mapping[str, Any]) -> str:
    rows = [
        [f"{name}: {stream}", *(f"{by_horizon[str(h)][stream]:.3f}" for h in HORIZONS)]
        for name, by_horizon in gates["drift"].items()
        for stream in by_horizon[str(HORIZONS[0])]
    ]
    heads = ["root mean square error, in standard deviations", *(f"after {h}" for h in HORIZONS)]
    looked = f"<p>Medians over the {gates['windows']} of {gates['windows_looked_at']} held-out windows that move most, "
    head = f"open loop. Reward head: mean error {gates['reward_head']['mean_error']:.4f}.</p>"
    drawn = "".join(
        f"<p>Held-out pictures of camera {html.escape(name)} are drawn again at {found['psnr_db']:.1f} dB.</p>"
        for name, found in gates.get("cameras", {}).items()
    )
    told = "".join(f"<p>Found in the logs: {html.escape(one)}.</p>" for one in gates.get("found", []))
    return _checks_table(gates) + table_html(heads, rows) + looked + head + drawn + told


def _plot_streams(folder: Path) -> Any:
    """Of some windows the numbers that move most, recorded and imagined from the same start and actions."""
    with np.load(folder / "gates" / "rollouts.npz", allow_pickle=False) as file:
        recorded, imagined, names = file["recorded"], file["imagined"], file["names"]
    if not recorded.shape[-1]:
        return None
    most = np.argsort(-recorded.std(1).mean(0))[:4]
    figure, grid = plt.subplots(len(recorded), len(most), figsize=(11, 1.8 * len(recorded)), squeeze=False)
    for window, line in enumerate(grid):
        for axes, number in zip(line, most, strict=False):
            axes.plot(recorded[window, :, number], label="recorded")
            axes.plot(imagined[window, :, number], "--", label="imagined")
            axes.set_title(str(names[number]), fontsize=8)
    grid[0, 0].legend(fontsize=7)
    figure.tight_layout()
    return figure


def _plot_cameras(folder: Path) -> Iterator[Any]:
    """By camera: of some windows what it saw, what the codec draws of that, and what was imagined of the same start and
    actions; marked where the robot's numbers say that it is."""
    with np.load(folder / "gates" / "rollouts.npz", allow_pickle=False) as file:
        names = [name.removeprefix("seen_") for name in file.files if name.startswith("seen_")]
        sides = {name: [file[f"{side}_{name}"] for side in ("seen", "recorded", "imagined")] for name in names}
        marks = {name: _marks(file, name) for name in names}
    told = ("recorded", "drawn again by the codec", "imagined")
    for name, pictures in sides.items():
        rows = len(told) * len(pictures[0])
        size = (1.5 * len(HORIZONS), 1.6 * rows)
        figure, grid = plt.subplots(rows, len(HORIZONS), figsize=size, squeeze=False, layout="constrained")
        for line, cells in enumerate(grid):
            window, side = divmod(line, len(told))
            for axes, horizon in zip(cells, HORIZONS, strict=True):
                picture = pictures[side][window, horizon - 1]
                axes.imshow(picture)
                x, y = ((marks[name][side][window, horizon - 1] + 1) * picture.shape[0] / 2 - 0.5).T
                axes.scatter(x, y, marker="+", color="magenta")
                axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
                axes.axis("off")
                if line == 0:
                    axes.set_title(f"after {horizon}", fontsize=7)
            said = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 7, "transform": cells[0].transAxes}
            cells[0].text(-0.04, 0.5, told[side], **said)
        figure.suptitle(f"camera {name}")
        yield figure


def _marks(file: Mapping[str, Any], camera: str) -> list[Any]:
    """Where the robot's numbers say that it is in a camera's pictures, (n, H, k, 2): recorded, again, and imagined."""
    recorded, imagined = (file.get(f"marks_{side}_{camera}") for side in ("recorded", "imagined"))
    if recorded is None or imagined is None:
        recorded = imagined = np.zeros((*file["recorded"].shape[:2], 0, 2))
    return [recorded, recorded, imagined]


def _gates_section(gates: Mapping[str, Any]) -> str:
    rows = []
    for name, by_horizon in gates["drift"].items():
        cells = (by_horizon[str(h)] for h in HORIZONS)
        rows.append([name, *(f"{c['agent_px']:.1f} / {c['block_px']:.1f} / {c['angle_rad']:.3f}" for c in cells)])
    heads = ["median error: agent px / block px / angle rad", *(f"after {h}" for h in HORIZONS)]
    head = gates["reward_head"]
    near = head["mean_error_near_goal"]
    return (
        _checks_table(gates)
        + table_html(heads, rows)
        + (
            f"<p>Open loop on {gates['windows']} held-out windows in which the block moves. Reward head: mean error "
            f"{head['mean_error']:.4f}" + (f", near the goal {near:.4f}" if near is not None else "") + ".</p>"
        )
    )


def _checks_table(gates: Mapping[str, Any]) -> str:
    rows = [
        ["pass" if check["ok"] else "fail", check["name"], f"{check['found']:.3g}", f"{check['limit']:.3g}"]
        for check in gates["checks"]
    ]
    found = gates.get("codec")
    read = (
        "Poses are read off observations by a small network fitted to recorded ones; its own floor is the last row of "
        "the next table."
        if found and "block_px" in found
        else "No poses were recorded: they are read off the learned points, and compared with those of recorded frames."
    )
    drawn = f"<p>Held-out frames are drawn again at {found['psnr_db']:.1f} dB. {read}</p>" if found else ""
    compared = "".join(
        f"<p>Gradient by {html.escape(link)}: cosine {part['cosine']:.2f} with finite differences of the global "
        f"model's return (median of single windows {part['median_cosine']:.2f}), length {part['norm_ratio']:.2f} of "
        f"theirs; mean gap {part['gap'][0]:.4f} after the first step.</p>"
        for link, part in gates["gradient"].items()
    )
    return table_html(["gate", "of", "found", "at most"], rows) + drawn + compared


def _seconds_table(results: Mapping[str, Any]) -> str:
    rows = [[stage, f"{seconds:.0f}"] for stage, seconds in results["seconds"].items()]
    return table_html(["stage", "seconds"], rows) + f"<p>Peak memory: {results['peak_memory_mib']} MiB.</p>"


def _videos(folder: Path, results: Mapping[str, Any]) -> str:
    parts = []
    for name in ("policy", "cloning"):
        if reason := results.get(name, {}).get("not_filmed"):
            parts.append(f"<p>{name} is not filmed: {html.escape(reason)}.</p>")
        path = folder / "evaluation" / f"{name}.mp4"
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            parts.append(f"<h3>{name}</h3><video controls loop muted src='data:video/mp4;base64,{data}'></video>")
    return "".join(parts)
