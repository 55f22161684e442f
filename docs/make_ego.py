"""Makes `ego.png` of docs/ego.md: `MUJOCO_GL=egl python docs/make_ego.py`.

An episode of each environment's script, time to the right: what a camera beside the robot shows, and below it what the
robot's own camera sees.
"""

import os
from pathlib import Path

import gymnasium
import matplotlib as mpl

os.environ.setdefault("LP_NUM_THREADS", "1")

import glocal_envs  # noqa: F401  (it registers them)
from glocal_envs.scripted import lift, push

mpl.use("Agg")
import matplotlib.pyplot as plt

EPISODES = {
    "glocal/PushCube-v0": ("chase", push, 1, (0, 10, 20, 30, 40, 50, 60, 70)),
    "glocal/GraspLift-v0": ("side", lift, 3, (0, 2, 4, 6, 8, 10, 12, 14)),
}
"""Of each environment: the camera beside the robot, the script, the seed, and the control steps that are shown."""


def main() -> None:
    """Draw the picture."""
    figure, grid = plt.subplots(4, 8, figsize=(10, 5.4))
    for pair, (name, (camera, script, seed, moments)) in enumerate(EPISODES.items()):
        env = gymnasium.make(name, render_mode="rgb_array", camera=camera, width=160, height=160, head=64)
        obs, _ = env.reset(seed=seed)
        for t in range(moments[-1] + 1):
            if t in moments:
                column = moments.index(t)
                for row, picture in ((2 * pair, env.render()), (2 * pair + 1, obs["head"])):
                    grid[row, column].imshow(picture)
                    grid[row, column].set(xticks=[], yticks=[])
                grid[2 * pair, column].set_title(f"{t / 5:.1f} s", fontsize=8)
            obs, *_ = env.step(script(obs))
        env.close()
    figure.tight_layout(pad=0.3)
    figure.savefig(Path(__file__).parent / "ego.png", dpi=80)


if __name__ == "__main__":
    main()
