"""Makes `landmarks.png` of docs/own_robot.md from a run of `robot-points`: `python docs/make_landmarks.py RUN`.

Recorded pictures of its first camera that has some, with the places on the robot that the robot's numbers tell.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from glocal.models.codecs.cameras import CamerasCodec
from glocal.pipeline.run import open_run

mpl.use("Agg")
import matplotlib.pyplot as plt

COLUMNS, ROWS = 8, 2


def main() -> None:
    """Draw the picture."""
    run = open_run(Path(sys.argv[1]))
    assert isinstance(run.codec, CamerasCodec), "a run of pictures"
    rows = np.linspace(5, len(run.store) - 1, COLUMNS * ROWS).astype(int)
    fields = {name: torch.from_numpy(run.store.fields[name][rows]).to(run.device) for name in run.codec.reads}
    with torch.no_grad():
        found = run.codec.on_robot(run.codec.encode(fields))
    assert found, "a run whose cameras have landmarks"
    camera, marks = next(iter(found.items()))
    figure, grid = plt.subplots(ROWS, COLUMNS, figsize=(1.25 * COLUMNS, 1.25 * ROWS), layout="constrained")
    for axes, picture, places in zip(grid.flat, fields[camera].cpu().numpy(), marks.cpu().numpy(), strict=True):
        side = len(picture)
        axes.imshow(picture)
        axes.scatter(*((places + 1) * side / 2 - 0.5).T, marker="+", color="magenta")
        axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[])
    figure.savefig(Path(__file__).with_name("landmarks.png"), dpi=90)


if __name__ == "__main__":
    main()
