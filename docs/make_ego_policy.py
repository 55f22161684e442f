"""Makes `ego_policy.png` of docs/ego.md: `MUJOCO_GL=egl python docs/make_ego_policy.py out/push_cube_ego/run`.

One episode of the trained policy, time to the right: what a camera behind the robot shows, what its own camera sees,
and below that what it believes: where things are around it, each in its colour, fainter the less sure it is.
"""

import os
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

os.environ.setdefault("LP_NUM_THREADS", "1")

from glocal.deploy.controllers import learned, recorded_fields
from glocal.models.codecs.colours import halved, hues
from glocal.pipeline.real import open_robot
from glocal.pipeline.run import open_run

mpl.use("Agg")
import matplotlib.pyplot as plt

SEED = 3_000_002
MOMENTS = (0, 8, 16, 24, 40, 56, 72, 96, 128)
REACH = 3.0
"""Of the map, in typical distances."""


def colours(run) -> np.ndarray:
    """The colour (k, 3) of each thing of the head camera, as recorded pictures show it."""
    name = run.codec.cameras[0]
    rows = np.linspace(0, len(run.store.fields[name]) - 1, 300).astype(int)
    images = torch.from_numpy(run.store.fields[name][rows])
    pixels = images.float().unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean((2, 4)).flatten(0, 2) / 255
    palette = run.codec.colours[f"camera_{name}"].palette
    near = torch.cdist(hues(halved(images)).movedim(1, -1).flatten(0, 2), palette).argmin(1)
    return np.stack([pixels[near == i].mean(0).numpy() for i in range(len(palette))])


@torch.no_grad()
def main(folder: str) -> None:
    """Draw the picture."""
    run = open_run(Path(folder))
    codec, policy = run.codec, run.policy("policy")
    env = open_robot(run.config.task, run.config.env, filmed=True)
    seen, control, before = env.reset(SEED), learned(codec, policy), None
    next(control)
    figure, grid = plt.subplots(3, len(MOMENTS), figsize=(10, 3.5))
    shown, placed = colours(run), codec.placed.numpy()
    for t in range(MOMENTS[-1] + 1):
        before = codec.observe(recorded_fields([seen], codec.reads), before)
        if t in MOMENTS:
            chase, head, map_ = grid[:, MOMENTS.index(t)]
            chase.imshow(env.env.render())
            head.imshow(seen[codec.cameras[0]])
            _, places, sure = codec.parts(before[0])
            for i in np.flatnonzero(placed & (sure.numpy() > 0)):
                map_.scatter(-places[i, 1], places[i, 0], color=shown[i], alpha=max(0.25, float(sure[i])), s=22)
            map_.plot(0, 0, "k^", markersize=4)
            map_.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
            chase.set_title(f"{t / 5:.1f} s", fontsize=8)
            for one in (chase, head, map_):
                one.set(xticks=[], yticks=[])
        seen = env.step(control.send([seen])[0]).fields
    figure.tight_layout(pad=0.3)
    figure.savefig(Path(__file__).parent / "ego_policy.png", dpi=80)
    env.env.close()


if __name__ == "__main__":
    main(sys.argv[1])
