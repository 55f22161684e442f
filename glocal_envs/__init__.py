"""Gymnasium environments that stand for real robots; importing this registers `glocal/PushCube-v0`.

glocal itself never imports them: it is told their names, as of any other plug-in of Gymnasium.
"""

import gymnasium

PUSH_CUBE = "glocal/PushCube-v0"

if PUSH_CUBE not in gymnasium.registry:
    gymnasium.register(PUSH_CUBE, entry_point="glocal_envs.push_cube:PushCube", max_episode_steps=300)
